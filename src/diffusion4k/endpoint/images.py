"""Pictures as a chat message holds them: a JPEG as a `data:` address."""

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from diffusion4k.data.images import open_rgb
from diffusion4k.endpoint.settings import ImageSettings
from diffusion4k.support.data_uri import jpeg_uri

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionContentPartImageParam as ImagePart

__all__ = ["image_part", "sent_size"]


def sent_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height in pixels at which a picture is sent; it is never enlarged."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def image_part(path: Path, size: tuple[int, int], settings: ImageSettings) -> "ImagePart":
    """The part of a message that shows the picture, upright, in sRGB, `size` wide and high.

    Raises:
        Diffusion4kError: the picture cannot be read.
    """
    image = open_rgb(path, at_least=size).resize(size, Image.Resampling.LANCZOS)
    address = jpeg_uri(image, settings.quality)
    return {"type": "image_url", "image_url": {"url": address, "detail": settings.detail}}
