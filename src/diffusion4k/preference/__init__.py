"""Which of two images is the better one: asked of people (`study`) and of a judging model."""
