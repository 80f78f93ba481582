"""Patches of images: squares of a grid, cut once, kept as PNG files that measures can read too."""

from pathlib import Path
from random import Random

from diffusion4k.data.images import image_size, open_rgb
from diffusion4k.errors import UsageError
from diffusion4k.preference.study.config import PatchesConfig
from diffusion4k.support.files import atomic_path, sha256_of
from diffusion4k.support.progress import track

__all__ = ["cut_patches", "grid"]


def grid(width: int, height: int, size: int) -> list[tuple[int, int]]:
    """Left and top of all squares of `size` pixels, side by side, the grid in the middle."""
    columns, rows = width // size, height // size
    left, top = (width - columns * size) // 2, (height - rows * size) // 2
    return [(left + c * size, top + r * size) for r in range(rows) for c in range(columns)]


def cut_patches(
    model: str, files: list[Path], folder: Path, config: PatchesConfig, seed: int
) -> list[Path]:
    """Files of `folder`, cut out of each image unless they are there already.

    Their names say model, image, its content, and position: an image made again gets others.

    Raises:
        UsageError: an image has no room for a patch.
    """
    found = []
    for path in track(files, len(files), f"cutting patches of {model}"):
        places = grid(*image_size(path), config.size)
        if not places:
            width, height = image_size(path)
            raise UsageError(
                f"{path}: {width}x{height} pixels, too small for a patch of {config.size}: lower "
                "`patches.size`"
            )
        # The same positions in images of the same name and size, whichever model made them.
        chosen = Random(f"{seed}/{path.stem}").sample(places, min(config.per_image, len(places)))
        content = sha256_of(path)[:8]
        names = [f"{model}-{path.stem}-{content}-x{x}-y{y}-{config.size}.png" for x, y in chosen]
        if absent := [n for n, name in enumerate(names) if not (folder / name).is_file()]:
            image = open_rgb(path)
            for number in absent:
                x, y = chosen[number]
                with atomic_path(folder / names[number]) as temporary:
                    image.crop((x, y, x + config.size, y + config.size)).save(temporary, "PNG")
        found += [folder / name for name in names]
    return found
