"""A check of a whole existing dataset, and a corrected copy of it."""
