"""What lies where in the folder of a dataset that `dataset build` writes."""

__all__ = ["COUNTS", "DECISIONS", "DROPPED", "EVAL", "LEDGER", "MANIFEST", "SPLITS", "TRAIN"]

TRAIN, EVAL = SPLITS = ("train", "eval")
"""Image folders: pictures to train on, and those set aside for evaluation."""
MANIFEST = "manifest.parquet"
"""One row per candidate, kept or not."""
COUNTS = "counts.json"
"""Per step: kept, dropped, why."""
DROPPED = "dropped.csv"
"""One row per candidate that was left out, with the reason."""
LEDGER = "captions.sqlite"
"""What the captioner has asked and paid."""
DECISIONS = "decisions.sqlite"
"""What people have decided."""
