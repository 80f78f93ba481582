"""Kinds of measures, to ask the registry for."""

from diffusion4k.metrics.measure import Measure

__all__ = ["without_weights"]


def without_weights(kind: type[Measure]) -> bool:
    """Whether it measures a picture alone, with no weights but those that a package brings."""
    return kind.section is None and not kind.needs_original
