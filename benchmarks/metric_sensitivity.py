"""What each weight-free metric makes of damaged photographs at 4096 pixels.

    python benchmarks/metric_sensitivity.py [PHOTOGRAPH ...]

Two bundled photographs of over 4096 pixels (`dandelion`, `sunset`) and those named are cropped to
at most 4096x4096, never enlarged, and damaged in six ways of growing strength; all are saved as
JPEG of quality 95 and measured from the file. The other six bundled photographs, at native size,
are the reference folder and what the detail distance is fitted on: none of them is measured here.
The table goes into docs/metric-sensitivity.md, the figure beside it, all values into results/.
"""

import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common
import metric_sensitivity_page as page
import numpy as np
from PIL import Image, ImageFilter

from diffusion4k.data.folder import photo_folder
from diffusion4k.metrics.detail import DetailLikeness, DetailModel
from diffusion4k.metrics.measure import Column, Distance, Mean, Ratio
from diffusion4k.metrics.measuring import Measured, measure_all
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.registry import make_measures
from diffusion4k.metrics.store import MeasureStore

SIDE = 4096
HELD_OUT = ("dandelion", "sunset")
Damage = Callable[[Image.Image, float], Image.Image]


def white_noise(image: Image.Image, sigma: float) -> Image.Image:
    """Gaussian, in each channel."""
    rgb = np.asarray(image)
    noise = np.random.default_rng(0).standard_normal(rgb.shape, np.float32)
    return Image.fromarray((rgb + sigma * noise).round().clip(0, 255).astype(np.uint8))


def sharpened(image: Image.Image, amount: float) -> Image.Image:
    """Unsharp mask of radius 1.5."""
    return image.filter(ImageFilter.UnsharpMask(1.5, round(100 * amount), 0))


def compressed(image: Image.Image, quality: float) -> Image.Image:
    """JPEG, 4:2:0."""
    buffer = io.BytesIO()
    # A copy, as Pillow notes the quality in the image, which other threads are saving, too.
    image.copy().save(buffer, "JPEG", quality=int(quality))
    return Image.open(buffer).convert("RGB")


def blurred(image: Image.Image, sigma: float) -> Image.Image:
    """Gaussian."""
    return image.filter(ImageFilter.GaussianBlur(sigma))


def enlarged(image: Image.Image, factor: float) -> Image.Image:
    """Made smaller with Lanczos, and as large again with a bicubic."""
    size = round(image.width / factor), round(image.height / factor)
    return image.resize(size, Image.Resampling.LANCZOS).resize(image.size, Image.Resampling.BICUBIC)


def repeated(image: Image.Image, times: float) -> Image.Image:
    """A square from the centre, `times` of which fill the shorter side."""
    side = int(min(image.size) / times)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    tile = np.asarray(image.crop((left, top, left + side, top + side)))
    grid = -(-image.height // side), -(-image.width // side), 1
    return Image.fromarray(np.tile(tile, grid)[: image.height, : image.width])


LADDERS: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "white noise": (white_noise, (2, 4, 8, 16)),
    "sharpening": (sharpened, (0.5, 1, 2, 4)),
    "JPEG quality": (compressed, (75, 50, 30, 15)),
    "blur": (blurred, (0.5, 1, 2, 4)),
    "enlarging": (enlarged, (1.25, 1.5, 2, 4)),
    "repetition": (repeated, (2, 4, 8, 16)),
}


def photographs(named: Sequence[str]) -> Iterator[tuple[str, Image.Image]]:
    """Name and pixels of each, cropped about the centre."""
    bundled = [photo_folder("pocket") / f"{name}.jpg" for name in HELD_OUT]
    for path in [*bundled, *map(Path, named)]:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        width, height = (min(side, SIDE) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        yield path.stem, image.crop((left, top, left + width, top + height))


def damaged(image: Image.Image, folder: Path) -> list[Path]:
    """The photograph as it is, then every step of every ladder."""
    steps: list[tuple[Damage, float]] = [(lambda whole, _: whole, 0)]
    steps += [(damage, level) for damage, levels in LADDERS.values() for level in levels]

    def save(number: int) -> Path:
        damage, level = steps[number]
        path = folder / f"{number:03}.jpg"
        damage(image, level).save(path, quality=95)
        return path

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(save, range(len(steps))))


def values_of(
    column: Column, pictures: list[Measured], reference: list[Measured]
) -> tuple[float | None, list[float]]:
    """The folder's value, and each picture's own where it has one."""
    if isinstance(column, Mean):
        own = [picture.numbers[column.name] for picture in pictures]
        return float(np.mean(own)), own
    if isinstance(column, Ratio):
        parts = [[p.numbers[n] for p in pictures] for n in (column.numerator, column.denominator)]
        return sum(parts[0]) / sum(parts[1]), [a / b for a, b in zip(*parts, strict=True)]
    assert isinstance(column, Distance)
    theirs = [picture.features(column.features) for picture in reference]
    ours = [picture.features(column.features) for picture in pictures]
    if column.name.startswith("fd_"):
        return column.distance(ours, theirs), []
    return column.distance(ours, theirs), [column.distance([one], theirs) for one in ours]


def main() -> None:
    """Damage, measure, compare; write table, figure and values."""
    bundled = sorted(photo_folder("pocket").glob("*.jpg"))
    kept = [path for path in bundled if path.stem not in (*HELD_OUT, "gradient")]
    measures, _ = make_measures(wanted=lambda kind: not kind.section and not kind.needs_original)
    others = DetailLikeness(DetailModel.fit(kept))
    measures = [others if measure.name == others.name else measure for measure in measures]
    found: list[list[Measured]] = []
    sizes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        store = MeasureStore(Path(place) / "kept")
        reference = list(measure_all(map(MeasuredImage, kept), measures, store))
        for name, image in photographs(sys.argv[1:]):
            with tempfile.TemporaryDirectory() as folder:
                paths = damaged(image, Path(folder))
                found.append(list(measure_all(map(MeasuredImage, paths), measures, store)))
            sizes[name] = f"{image.width}x{image.height}"
            print(
                f"measured {name} ({sizes[name]}) and {len(paths) - 1} damaged copies", flush=True
            )
        result: dict[str, dict] = {}
        for column in (column for measure in measures for column in measure.columns):
            steps = [values_of(column, list(same), reference) for same in zip(*found, strict=True)]
            result[column.name] = {
                "heading": column.heading,
                "better": column.better,
                "undamaged": steps[0],
                "ladders": page.by_ladder(LADDERS, steps[1:]),
            }
    levels = {name: levels for name, (_, levels) in LADDERS.items()}
    facts = {"photographs": sizes, "reference": [path.stem for path in kept], "levels": levels}
    page.write(result, levels, sizes)
    common.save("metric_sensitivity", {**facts, "metrics": result})


if __name__ == "__main__":
    main()
