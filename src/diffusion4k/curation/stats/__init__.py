"""What is in a dataset: sizes, captions, samples, quality; as figures, a page and a card."""
