"""FLOPs and bytes of a model, counted on meta tensors without its weights."""
