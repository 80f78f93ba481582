"""`diffusion4k dataset stats`: what is in a dataset."""

EXAMPLE = ""


def stats() -> None:
    """x"""
