"""LoRAs and checkpoints of other programs: looked at, and converted with a proof."""
