"""Draws docs/architecture.svg: the road through the packages, and the layers that its imports keep.

    python docs/draw_architecture.py

The layers are those of the contract in pyproject.toml that `make lint` holds. Needs Python 3.11.
"""

from html import escape
from pathlib import Path

import tomllib

__all__ = ["WINGS", "drawing", "layers"]

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(__file__).with_name("architecture.svg")

WIDTH = 1240
LEFT, STEP, CHIP, HEIGHT = 22, 176, 140, 52
ROAD, MODEL, IMAGES, PEOPLE, LAYERS = 58, 152, 240, 330, 436
BAND = 34
INK, FADED, PAPER = "#1f2933", "#7b8794", "#ffffff"

WINGS = {
    "ways in": ("#e4e7eb", ("cli", "demo")),
    "people and judges": ("#e6dcf5", ("preference", "endpoint", "web")),
    "datasets": ("#fbe3c8", ("curation",)),
    "measurement": (
        "#d3eedd",
        ("metrics", "imagesets", "reconstruction", "benchmark", "ablation", "compare"),
    ),
    "method": (
        "#d2e5f8",
        (
            *("planning", "training", "accounting", "sampling", "data", "families", "models"),
            *("vae", "lora", "objectives", "timesteps", "wavelet", "original_names", "interchange"),
        ),
    ),
}
"""Colour and packages of each wing; what is in none belongs to the house."""
COLOURS = {name: colour for colour, names in WINGS.values() for name in names}
HOUSE = "#f3f4f6"

ROADS = (
    (
        ROAD,
        ("photographs", "curation: dataset build", "image folder", "data: cache"),
        ("latents, embeddings", "training: train", "checkpoint"),
    ),
    (
        IMAGES,
        ("prompts", "sampling: generate", "images", "metrics: evaluate"),
        ("numbers", "benchmark: benchmark", "report"),
    ),
)
"""Things and, as `package: verb`, what is done with them, from left to right."""


def layers() -> list[list[str]]:
    """The packages of each layer, the highest first, as the contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    listed = next(each for each in contracts["contracts"] if each["type"] == "layers")["layers"]
    return [[name.strip() for name in layer.split("|")] for layer in listed]


def drawing() -> str:
    """The picture as SVG."""
    found = layers()
    height = LAYERS + 62 + BAND * len(found)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="Helvetica, Arial, sans-serif">',
        "<title>The road through diffusion4k, and the layers of its packages</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{FADED}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
        _text(LEFT, 34, "The road", 18, weight="bold", anchor="start"),
        *_road(),
        _text(LEFT, LAYERS, "The layers: imports run down, never up", 18, "bold", "start"),
        *_legend(),
        *_layers(found),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _road() -> list[str]:
    parts = []
    for y, *halves in ROADS:
        chips = [chip for half in halves for chip in half]
        for column, chip in enumerate(chips):
            parts.append(_chip(column, y, chip))
            if column:
                parts.append(_arrow(_right(column - 1), y + HEIGHT / 2, _left(column)))
    # Images also go to people; the checkpoint and the base model to where they are used.
    parts += [
        _chip(3, PEOPLE, "preference: study, judge"),
        _chip(4, PEOPLE, "win rates"),
        _path(f"M{_middle(2)} {IMAGES + HEIGHT}V{PEOPLE + HEIGHT / 2}H{_left(3)}"),
        _arrow(_right(3), PEOPLE + HEIGHT / 2, _left(4)),
        _path(f"M{_middle(6)} {ROAD + HEIGHT}V{IMAGES - 22}H{_middle(1) + 30}V{IMAGES}"),
        _box(_left(1), MODEL, _right(5) - _left(1), 36, COLOURS["families"]),
        _text(
            (_left(1) + _right(5)) / 2,
            MODEL + 23,
            "families: the base model, with vae and lora; the only place that knows what differs "
            "between models",
            13,
        ),
        _path(f"M{_middle(3)} {MODEL}V{ROAD + HEIGHT}"),
        _path(f"M{_middle(5)} {MODEL}V{ROAD + HEIGHT}"),
        _path(f"M{_middle(1) - 30} {MODEL + 36}V{IMAGES}"),
    ]
    return parts


def _legend() -> list[str]:
    parts, x = [], 480
    for wing, (colour, _) in [*WINGS.items(), ("house", (HOUSE, ()))]:
        parts += [
            _box(x, LAYERS - 13, 16, 16, colour),
            _text(x + 22, LAYERS, wing, 13, "normal", "start"),
        ]
        x += 48 + 7.2 * len(wing)
    return parts


def _layers(found: list[list[str]]) -> list[str]:
    parts = []
    for row, names in enumerate(found):
        y = LAYERS + 22 + row * BAND
        width = (WIDTH - 2 * LEFT - 8 * (len(names) - 1)) / len(names)
        for place, name in enumerate(names):
            x = LEFT + place * (width + 8)
            parts += [
                _box(x, y, width, BAND - 6, COLOURS.get(name, HOUSE)),
                _text(x + width / 2, y + 19, name, 14),
            ]
    return parts


def _left(column: int) -> int:
    return LEFT + column * STEP


def _right(column: int) -> int:
    return _left(column) + CHIP


def _middle(column: int) -> int:
    return _left(column) + CHIP // 2


def _chip(column: int, y: float, label: str) -> str:
    """A thing with a dashed border, or a package in its colour with the command below."""
    package, _, verb = label.partition(": ")
    x = _left(column)
    if not verb:
        box = _box(x, y, CHIP, HEIGHT, PAPER, f'stroke-dasharray="4 3" stroke="{FADED}"')
        return box + _text(_middle(column), y + 31, label, 14)
    return (
        _box(x, y, CHIP, HEIGHT, COLOURS[package])
        + _text(_middle(column), y + 23, package, 15, "bold")
        + _text(_middle(column), y + 41, verb, 13, family="monospace")
    )


def _box(x: float, y: float, width: float, height: float, fill: str, more: str = "") -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" '
        f"{more}/>"
    )


def _text(
    x: float,
    y: float,
    text: str,
    size: int,
    weight: str = "normal",
    anchor: str = "middle",
    family: str = "",
) -> str:
    font = f' font-family="{family}"' if family else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{INK}"{font}>{escape(text)}</text>'
    )


def _arrow(start: float, y: float, end: float) -> str:
    return _path(f"M{start:g} {y:g}H{end:g}")


def _path(path: str) -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{FADED}" stroke-width="1.6" marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    TARGET.write_text(drawing())
