"""The whole road in one command: photographs to a measured 4K image, and a report of it."""
