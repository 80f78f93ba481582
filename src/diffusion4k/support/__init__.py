"""Tools of the house: files, locks, progress, pages. Nothing here knows the method."""
