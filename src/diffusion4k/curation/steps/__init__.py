"""The steps of a build, one a file; each takes the table of candidates and gives it back."""
