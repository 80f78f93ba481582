"""Photographs and their reconstructions by autoencoders at 512x512 (the supplement's Fig. 16)."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from diffusion4k.reconstruction.evaluate import Autoencoder, SquarePhotograph
from diffusion4k.reconstruction.figure import drawn
from diffusion4k.support.progress import track

__all__ = ["draw_reconstructions"]


def draw_reconstructions(
    paths: Sequence[Path],
    autoencoders: Sequence[Autoencoder],
    *,
    size: int = 512,
    width: int = 2400,
) -> Image.Image:
    """The figure, about `width` pixels wide, of the central squares of photographs.

    Raises:
        Diffusion4kError: a photograph that cannot be read or is smaller than `size`.
    """
    rows = []
    for path in track(paths, len(paths), "reconstructing"):
        original = SquarePhotograph(path, size).pixels()
        rows.append((original, [network.reconstruct(original) for network in autoencoders]))
    return drawn(rows, [network.name for network in autoencoders], width)
