"""Kinds of autoencoders, one file each: which layers they have, for the passes over strips."""

from typing import Any

from diffusion4k.errors import UsageError
from diffusion4k.vae.layouts.base import Layout, Strips
from diffusion4k.vae.layouts.causal import CausalLayout
from diffusion4k.vae.layouts.dc import DCLayout
from diffusion4k.vae.layouts.kl import KLLayout

__all__ = ["LAYOUTS", "Layout", "Strips", "layout_of"]

LAYOUTS: tuple[Layout, ...] = (KLLayout(), CausalLayout(), DCLayout())


def layout_of(autoencoder: Any) -> Layout:
    """The layout of an autoencoder.

    Raises:
        UsageError: its class is not known.
    """
    for layout in LAYOUTS:
        if isinstance(autoencoder, layout.classes):
            return layout
    known = ", ".join(known.__name__ for layout in LAYOUTS for known in layout.classes)
    raise UsageError(
        f"{type(autoencoder).__name__}: its layers are not known to the passes over strips, which "
        f"know those of {known}"
    )
