"""Fine-tuning a base model's transformer on a cache of latents and text embeddings."""
