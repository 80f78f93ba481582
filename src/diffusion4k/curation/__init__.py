"""From raw photographs to a curated, captioned dataset, and what is in one."""
