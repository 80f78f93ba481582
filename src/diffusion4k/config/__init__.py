"""Configuration files: reading, checking, and saying what is wrong with them."""
