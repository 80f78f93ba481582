"""What describes a run: the recipe, and what is built from it."""
