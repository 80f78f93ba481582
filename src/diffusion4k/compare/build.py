"""From folders to the page: match, make tiles, measure, write."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion4k import __version__
from diffusion4k.compare.numbers import Numbers, headings, numbers_of, read_results
from diffusion4k.compare.page import TILES, claim, remove_others, write_page
from diffusion4k.compare.pyramid import COARSEST, About, PyramidWriter, identity, read_about
from diffusion4k.data.images import open_pixels
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.match import Match, MatchedRow, match_images
from diffusion4k.imagesets.models import ImageSetEntry, Model, is_inside, read_models
from diffusion4k.support.cores import cores
from diffusion4k.support.lock import locked
from diffusion4k.support.prefetch import prefetch
from diffusion4k.support.progress import track
from diffusion4k.web.deepzoom import OVERLAP, TILE, Pyramid

__all__ = ["LEAST", "MOST", "Comparison", "compare"]

LEAST, MOST = 2, 6
"""How many models a page can show."""


@dataclass
class Comparison:
    """A page that was written, and what is missing on it, one line each."""

    page: Path
    rows: list[MatchedRow]
    missing: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Tiles:
    id: str
    about: About


def compare(
    folders: Sequence[str],
    out: Path,
    *,
    match: Match = "auto",
    results: Sequence[str] = (),
    title: str = "Comparison",
    small: bool = False,
    skip_bad: bool = False,
) -> Comparison:
    """Write the page of two to six models, `FOLDER` or `NAME=FOLDER` each, into the folder `out`.

    What a stopped run has finished is taken over. An image without a partner leaves cells empty.

    Args:
        results: `NAME=FILE` each: numbers of a model's images, instead of measuring them here.
        small: highest levels as JPEG of quality 95 instead of without loss.
        skip_bad: images that cannot be decoded leave their cells empty.

    Raises:
        UsageError: wrong folders, results or `out`.
        Diffusion4kError: nothing to compare, a bad image without `skip_bad`, or bad metadata.
    """
    models = read_models(folders, LEAST, MOST)
    given = read_results(results, models)
    rows = match_images(models, match)
    if holder := is_inside(out, models):
        raise UsageError(f"--out {out}: lies in {holder.folder}, one of the image folders")
    claim(out)
    with locked(out):
        comparison = Comparison(out / "index.html", rows, list(_missing(models, rows)))
        tiles: dict[Path, _Tiles] = {}
        for entry, made in _all_tiles(rows, out / TILES, small=small):
            if isinstance(made, _Tiles):
                tiles[entry.path] = made
            elif skip_bad:
                comparison.skipped.append(str(made))
            else:
                raise type(made)(f"{made}, or pass --skip-bad to leave its cell empty")
        if not tiles:
            raise Diffusion4kError(f"{models[0].folder}: none of the images can be decoded")
        write_page(out, _data(models, rows, tiles, given, title=title, small=small))
        remove_others(out, [made.id for made in tiles.values()])
    return comparison


def _missing(models: Sequence[Model], rows: Sequence[MatchedRow]) -> Iterator[str]:
    for row in rows:
        for model, entry in zip(models, row.entries, strict=True):
            if entry is None:
                yield f"{model.name}: no image for that of {row.first.path}"


def _all_tiles(
    rows: Sequence[MatchedRow], folder: Path, *, small: bool
) -> Iterator[tuple[ImageSetEntry, _Tiles | Diffusion4kError]]:
    """Tiles of every image, in order; while some are encoded, the next image is decoded."""
    entries = [entry for row in rows for entry in row.entries if entry]

    def look(
        entry: ImageSetEntry,
    ) -> tuple[ImageSetEntry, str, NDArray[np.uint8] | About | Diffusion4kError]:
        name = ""
        try:
            name = identity(entry.path, small=small)
            return entry, name, read_about(folder / name) or open_pixels(entry.path)
        except Diffusion4kError as error:
            return entry, name, error
        except OSError as error:
            reason = f"{entry.path}: cannot be read ({error.strerror}): check its permissions"
            return entry, name, Diffusion4kError(reason)

    looked = prefetch(look, entries, workers=1)
    with PyramidWriter(cores(), small=small) as writer:
        for entry, name, found in track(looked, len(entries), "making tiles"):
            if isinstance(found, np.ndarray):
                # The same image may have been made for another model just now.
                about = read_about(folder / name)
                found = about or writer.write(entry.path, found, folder / name)
            yield entry, _Tiles(name, found) if isinstance(found, About) else found


def _data(
    models: Sequence[Model],
    rows: Sequence[MatchedRow],
    tiles: dict[Path, _Tiles],
    given: dict[str, dict[str, Numbers]],
    *,
    title: str,
    small: bool,
) -> dict[str, object]:
    found: dict[Path, Numbers] = {}
    shown = []
    for row in rows:
        pictures: list[dict[str, object] | None] = []
        for model, entry in zip(models, row.entries, strict=True):
            made = tiles.get(entry.path) if entry else None
            if not entry or not made:
                pictures.append(None if not entry else {"file": entry.file_name})
                continue
            found[entry.path] = numbers_of(entry, made.about, given.get(model.name))
            pictures.append(_picture(entry, made, found[entry.path]))
        shown.append({"prompt": row.prompt, "pictures": pictures})
    return {
        "title": title,
        "version": __version__,
        "models": [model.name for model in models],
        "headings": [vars(heading) for heading in headings(list(found.values()))],
        "tiles": {
            **{"size": TILE, "overlap": OVERLAP, "coarsest": COARSEST, "folder": TILES},
            **{"top": "jpg" if small else "webp"},
        },
        "rows": shown,
    }


def _picture(entry: ImageSetEntry, made: _Tiles, numbers: Numbers) -> dict[str, object]:
    size = {"width": made.about.width, "height": made.about.height}
    return {
        **{"id": made.id, "file": entry.file_name, "seed": entry.seed, **size},
        **{"top": Pyramid(**size).top, "numbers": numbers},
    }
