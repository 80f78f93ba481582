"""Folders of images, as for the tests of image sets."""

from tests.imagesets.conftest import folder

__all__ = ["folder"]
