"""From raw photographs to a curated, captioned dataset."""
