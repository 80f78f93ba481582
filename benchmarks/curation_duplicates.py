"""Near-duplicates: how many made copies are found, class by class, and how many found are wrong.

    python recipes/pocket/dataset.py --out runs/pocket/dataset
    python benchmarks/curation_duplicates.py --pictures runs/pocket/dataset

The thresholds were tuned on four of the wallpaper packages; measured is on the other two, `lomiri`
and `lxqt`: 25 photographs and 12 graphics. Of each, copies of one class at a time lie among all
originals and the distractors: disjoint ninths of the tuning pictures, up to nine different views
of one scene, in one light and by one hand.

- recall: the share of copies that are in one group with their original.
- precision: of all pairs in one group with a copy in it, the share of true ones.

The reference is the usual 64-bit DCT hash of the whole picture (imagehash's `phash`), at the
distance of 10 bits.
"""

import argparse
import hashlib
import io
import time
import zlib
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from common import save
from PIL import Image, ImageEnhance

from diffusion4k.curation.duplicates import (
    Fingerprint,
    find_duplicates,
    fingerprint,
    pixel_hash,
)
from diffusion4k.curation.duplicates.thumbnail import thumbnail_of
from diffusion4k.curation.duplicates.windows import windows_of
from diffusion4k.data.images import open_rgb

HELD_OUT = ("lomiri-", "lxqt-")
GRAPHICS = (
    "lomiri-analogpattern", "lomiri-fossa", "lomiri-infinite-sea", "lomiri-painting-colors",
    "lomiri-umang", "lxqt-kde-plasma", "lxqt-lxqt-origami", "lxqt-origami", "lxqt-plasma_arch",
    "lxqt-simple_blue", "lxqt-triangles", "lxqt-waves",
)  # fmt: skip
COPIES = 2  # of each picture and class
PHASH_DISTANCE = 10

Random = np.random.Generator
Change = Callable[[Image.Image, Random], Image.Image]


def mirror(image: Image.Image, random: Random) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def crop(image: Image.Image, random: Random) -> Image.Image:
    """5 to 25% off each side, each drawn alone."""
    left, top, right, bottom = random.uniform(0.05, 0.25, 4)
    width, height = image.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    return image.crop(tuple(map(round, box)))


def resize(image: Image.Image, random: Random) -> Image.Image:
    """x0.25 to x2."""
    scale = 2 ** random.uniform(-2, 1)
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def reencode(image: Image.Image, random: Random) -> Image.Image:
    """JPEG at quality 30 to 95."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(random.integers(30, 96)))
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def colour(image: Image.Image, random: Random) -> Image.Image:
    """Brightness, contrast and saturation by up to 15%."""
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(random.uniform(0.85, 1.15))
    return image


CLASSES: dict[str, tuple[Change, ...]] = {
    "re-encode q30-q95": (reencode,),
    "resize x0.25-x2": (resize,),
    "colour +-15%": (colour,),
    "mirror": (mirror,),
    "crop 5-25% a side": (crop,),
    "mirror, resize, re-encode": (mirror, resize, reencode),
    "crop, re-encode": (crop, reencode),
    "crop, mirror": (crop, mirror),
    "crop, resize, re-encode": (crop, resize, reencode),
    "all five": (crop, mirror, colour, resize, reencode),
}


class Measured:
    """A picture's fingerprint, its reference hash, and which picture it shows."""

    def __init__(self, image: Image.Image, source: str) -> None:
        import imagehash

        self.source = source
        self.fingerprint: Fingerprint = fingerprint(np.asarray(image))
        self.phash = np.packbits(imagehash.phash(image).hash)


def load(path: Path, longest: int) -> Image.Image:
    image = open_rgb(path)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def ninths(image: Image.Image) -> list[Image.Image]:
    width, height = image.width // 3, image.height // 3
    corners = [(x * width, y * height) for y in range(3) for x in range(3)]
    return [image.crop((x, y, x + width, y + height)) for x, y in corners]


def scores(pictures: Sequence[Measured], labels: Sequence[int], copies: range) -> dict[str, Any]:
    """Recall and precision; the copy numbered k in `copies` is of the original before it."""
    originals = {pictures[k].source: k for k in range(copies.start)}
    recalled = [labels[k] == labels[originals[pictures[k].source]] for k in copies]
    groups: dict[int, list[int]] = {}
    for picture, label in enumerate(labels):
        groups.setdefault(label, []).append(picture)
    pairs = [
        pictures[i].source == pictures[j].source
        for group in groups.values()
        for i, j in combinations(group, 2)
        if i in copies or j in copies
    ]
    return {
        "recall": round(float(np.mean(recalled)), 4),
        "precision": round(float(np.mean(pairs)), 4) if pairs else None,
    }


def phash_labels(pictures: Sequence[Measured]) -> list[int]:
    from diffusion4k.curation.duplicates.groups import Union

    hashes, union = np.array([each.phash for each in pictures]), Union(len(pictures))
    for i, each in enumerate(hashes):
        for j in np.flatnonzero(np.bitwise_count(each ^ hashes).sum(axis=1) <= PHASH_DISTANCE):
            union.join(i, int(j))
    return union.labels().tolist()


def measure(
    originals: list[Measured], copies: list[Measured], distractors: list[Measured]
) -> dict[str, Any]:
    pictures = [*originals, *copies, *distractors]
    place = range(len(originals), len(originals) + len(copies))
    groups = find_duplicates([each.fingerprint for each in pictures])
    ours = scores(pictures, groups.labels.tolist(), place)
    count = len(pictures)
    wrong = {
        (pictures[i].source, pictures[j].source)
        for group in groups.members()
        for i, j in combinations(group, 2)
        if pictures[i].source != pictures[j].source
    }
    return {
        "copies": len(copies),
        **ours,
        "phash": scores(pictures, phash_labels(pictures), place),
        "compared_pairs": groups.compared,
        "all_pairs": count * (count - 1) // 2,
        "wrong_pairs": len(wrong),
    }


def milliseconds(image: Image.Image) -> dict[str, float]:
    """Processor time of the steps of a decoded picture's fingerprint, the least of ten."""
    pixels = np.asarray(image)
    thumbnail = thumbnail_of(pixels)
    steps: dict[str, Callable[[], object]] = {
        "thumbnail": lambda: thumbnail_of(pixels),
        "windows": lambda: windows_of(thumbnail),
        "pixel hash": lambda: pixel_hash(pixels),
        "BLAKE2b, for comparison": lambda: hashlib.blake2b(pixels.reshape(-1).data).digest(),
    }
    times: dict[str, float] = {}
    for name, step in steps.items():
        taken = []
        for _ in range(10):
            start = time.process_time()
            step()
            taken.append(time.process_time() - start)
        times[name] = round(1e3 * min(taken), 1)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=Path("runs/pocket/dataset"))
    parser.add_argument("--longest", type=int, default=2048, help="of the originals, in pixels")
    options = parser.parse_args()
    paths = sorted(p for p in options.pictures.iterdir() if p.suffix != ".jsonl")
    held_out = [path for path in paths if path.name.startswith(HELD_OUT)]
    distractors = [
        Measured(part, f"{path.name} part {number}")
        for path in paths
        if path not in held_out
        for number, part in enumerate(ninths(load(path, options.longest)))
    ]
    print(f"{len(held_out)} pictures, {len(distractors)} distractors", flush=True)
    originals: list[Measured] = []
    copies: dict[str, list[Measured]] = {name: [] for name in CLASSES}
    for path in held_out:
        image = load(path, options.longest)
        originals.append(Measured(image, path.name))
        for name, changes in CLASSES.items():
            for number in range(COPIES):
                # Of the name, so that a picture more or less leaves the others' copies as they are.
                random = np.random.default_rng(zlib.crc32(f"{path.name} {name} {number}".encode()))
                changed = image
                for change in changes:
                    changed = change(changed, random)
                copies[name].append(Measured(changed, path.name))
    results: dict[str, Any] = {}
    for kind in ("photographs", "graphics"):
        graphics = kind == "graphics"
        of_kind = [m for m in originals if m.source.startswith(GRAPHICS) == graphics]
        results[kind] = {}
        print(f"\n{kind}: {len(of_kind)}\n")
        print("| copies | recall | precision | pHash recall | pHash precision |")
        print("|---|---|---|---|---|")
        for name, made in copies.items():
            chosen = [m for m in made if m.source.startswith(GRAPHICS) == graphics]
            row = measure(of_kind, chosen, distractors)
            results[kind][name] = row
            columns = [row["recall"], row["precision"], *row["phash"].values()]
            cells = " | ".join("-" if value is None else f"{value:.2f}" for value in columns)
            print(f"| {name} | {cells} |", flush=True)
    results["milliseconds_at_4096"] = milliseconds(load(held_out[0], 4096).resize((4096, 4096)))
    print(f"\nprocessor time at 4096x4096, ms: {results['milliseconds_at_4096']}")
    save("curation_duplicates", {"longest_side": options.longest, **results})


if __name__ == "__main__":
    main()
