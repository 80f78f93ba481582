"""What a run leaves on disk, and how it continues from there."""
