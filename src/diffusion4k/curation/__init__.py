"""From raw photographs to a curated dataset."""
