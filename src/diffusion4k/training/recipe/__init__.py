"""What a run is asked for: the recipe, and what is built from it."""
