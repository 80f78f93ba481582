"""Recipes of tiny runs, as for the tests of training."""

from tests.training.conftest import cache, photographs, recipe

__all__ = ["cache", "photographs", "recipe"]
