"""An existing dataset looked through whole, and a corrected copy of it."""
