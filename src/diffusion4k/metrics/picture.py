"""An image file that several measures read: decoded once, when the first one needs it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffusion4k.metrics.images import as_array

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MeasuredImage"]


class MeasuredImage:
    """One image file, the prompt it was made from, and the original it should equal, if known."""

    def __init__(self, path: Path, prompt: str | None = None, original: Path | None = None) -> None:
        self.path, self.prompt, self.original = path, prompt, original
        self._pixels: NDArray[np.uint8] | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """RGB `(H, W, 3)`, upright, in sRGB. Raises `Diffusion4kError` for a broken file."""
        if self._pixels is None:
            self._pixels = as_array(self.path)
        return self._pixels

    @property
    def pil(self) -> "Image.Image":
        """The same pixels as a PIL image."""
        from PIL import Image

        return Image.fromarray(self.pixels)
