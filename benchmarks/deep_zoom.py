"""How soon a 100-megapixel JPEG can be looked at, beside decoding it whole first.

    python benchmarks/deep_zoom.py

Ours: the tiles of the whole view in a window of about 1040 pixels, then those of one view at 100%,
from a server that has not seen the picture. Reference: Pillow decodes the picture wholly and cuts
the same tiles from it; for the whole view it first makes it smaller.
"""

import io
import tempfile
from pathlib import Path

from common import compare, save
from PIL import Image

from diffusion4k.data.folder import photo_folder
from diffusion4k.data.images import open_rgb
from diffusion4k.web.deepzoom import TILE, Tiles

WIDTH, HEIGHT = 12_240, 8_160
VIEW = (3, 2)  # tiles


def whole_view(path: Path, tiles: Tiles) -> None:
    """All tiles of the level that such a window needs."""
    level = tiles.pyramid(path).top - 3
    width, height = tiles.pyramid(path).size(level)
    for row in range(-(-height // TILE)):
        for column in range(-(-width // TILE)):
            tiles.tile(path, level, column, row)


def closer_view(path: Path, tiles: Tiles) -> None:
    """Whole view first, then a view at 100% in the middle."""
    whole_view(path, tiles)
    for row in range(VIEW[1]):
        for column in range(VIEW[0]):
            tiles.tile(path, tiles.pyramid(path).top, 10 + column, 7 + row)


def decoded_first(path: Path, scale: int) -> None:
    """The reference."""
    image = Image.open(path).convert("RGB")
    if scale > 1:
        image = image.reduce(scale)
        columns, rows = -(-image.width // TILE), -(-image.height // TILE)
    else:
        columns, rows = VIEW
    for row in range(rows):
        for column in range(columns):
            box = (column * TILE, row * TILE, (column + 1) * TILE, (row + 1) * TILE)
            settings = {"compress_level": 1} if scale == 1 else {"quality": 92, "subsampling": 0}
            image.crop(box).save(io.BytesIO(), "PNG" if scale == 1 else "JPEG", **settings)


def main() -> None:
    """Print and save both comparisons."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        photograph = open_rgb(photo_folder("pocket") / "dandelion.jpg")
        photograph.resize((WIDTH, HEIGHT)).save(path, quality=95)
        whole = compare(lambda: whole_view(path, Tiles()), lambda: decoded_first(path, 8))
        print(f"whole view: {whole}")
        closer = compare(lambda: closer_view(path, Tiles()), lambda: decoded_first(path, 1))
        print(f"whole view, then 100%: {closer}")
    save("deep_zoom", {"pixels": [WIDTH, HEIGHT], "whole_view": whole, "closer_view": closer})


if __name__ == "__main__":
    main()
