"""The demo's report: one HTML file that needs nothing else."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion4k.demo.figures import Box, busiest_places, crop_uri, loss_curve, reduced_uri
from diffusion4k.files import write_text
from diffusion4k.metrics.evaluate import Folder
from diffusion4k.sampling import Output

if TYPE_CHECKING:
    from diffusion4k.demo.run import Result

__all__ = ["write_report"]

_CROP = 512
_COLOURS = ("#e4b400", "#d1345b")


@dataclass(frozen=True)
class _Mark:
    """A marked place: its colour, its frame in percent of the image, and the crops of it."""

    colour: str
    left: float
    top: float
    width: float
    height: float
    crops: list[tuple[str, str]]


def write_report(result: "Result", path: Path) -> Path:
    """Write the report of a finished run to `path`; images are embedded, nothing is linked."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        files("diffusion4k.demo").joinpath("report.html").read_text(encoding="utf-8")
    )
    before, after, aspect = (result.images[name] for name in ("before", "after", "aspect"))
    facts = result.to_json()
    facts.pop("measured")
    page = template.render(
        facts=facts,
        result=result,
        pairs=[_pair(*each) for each in zip(before, after, strict=True)],
        aspect={"settings": aspect[0].settings, "uri": reduced_uri(aspect[0].path)},
        curve=loss_curve(result.losses, result.validation),
        rows=_rows(result),
        notes=_notes(result),
    )
    write_text(path, page)
    return path


def _pair(before: Output, after: Output) -> dict[str, Any]:
    settings = after.settings
    side = min(_CROP, settings.width, settings.height)
    views = (("before", before.path), ("after", after.path))
    marks = [
        _mark(colour, box, settings.width, settings.height, views)
        for colour, box in zip(_COLOURS, busiest_places(after.path, side), strict=False)
    ]
    images = [(name, reduced_uri(path)) for name, path in views]
    return {"settings": settings, "images": images, "marks": marks}


def _mark(
    colour: str, box: Box, width: int, height: int, views: tuple[tuple[str, Path], ...]
) -> _Mark:
    left, top, right, bottom = box
    return _Mark(
        colour,
        100 * left / width,
        100 * top / height,
        100 * (right - left) / width,
        100 * (bottom - top) / height,
        [(name, crop_uri(path, box)) for name, path in views],
    )


def _rows(result: "Result") -> list[dict[str, object]]:
    """Photographs first, then each group of images: name, count, four numbers."""
    any_group = next(iter(result.measured.values()))
    assert any_group.reference is not None
    rows = [_row("bundled photographs", any_group.reference, {})]
    names = {
        "before": "before fine-tuning",
        "after": "after fine-tuning",
        "aspect": "after fine-tuning, 4:3",
    }
    for name, label in names.items():
        group = result.measured[name]
        distances = {distance.name: distance.value for distance in group.distances}
        rows.append(_row(label, group.images, distances))
    return rows


def _row(label: str, folder: Folder, distances: dict[str, float | None]) -> dict[str, object]:
    sizes = {f"{image.width}x{image.height}" for image in folder.images.values()}
    return {
        "label": label,
        "count": len(folder.images),
        "size": sizes.pop() if len(sizes) == 1 else "various sizes",
        "glcm": folder.mean("glcm_score"),
        "entropy": folder.mean("glcm_entropy"),
        "ratio": folder.compression_ratio,
        "distance": distances.get("FD-EffNet"),
        "patch_distance": distances.get("FD-EffNet-patch"),
    }


def _notes(result: "Result") -> list[str]:
    distances = (d for group in result.measured.values() for d in group.distances)
    return list(dict.fromkeys(f"{d.name}: {d.note}" for d in distances if d.note))
