"""Photographs and captions: the image folder, its cache of latents and embeddings, batches."""
