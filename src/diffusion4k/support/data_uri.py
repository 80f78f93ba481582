"""Images as text that a page or a message can hold."""

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["jpeg_uri", "png_uri"]


def jpeg_uri(image: "Image.Image", quality: int, *, exact_colours: bool = False) -> str:
    """Data URI of an image as a JPEG; with `exact_colours` colours are not subsampled."""
    content = io.BytesIO()
    options = {"subsampling": 0} if exact_colours else {}
    image.save(content, "JPEG", quality=quality, **options)
    return _uri("image/jpeg", content.getvalue())


def png_uri(content: bytes) -> str:
    """The content of a PNG file."""
    return _uri("image/png", content)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
