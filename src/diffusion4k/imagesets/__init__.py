"""Folders of images, each with its prompt and seed."""
