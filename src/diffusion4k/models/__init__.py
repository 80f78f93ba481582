"""A model on disk: its folder, its published configuration, its positions at high resolution."""
