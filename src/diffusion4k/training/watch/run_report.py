"""One page about a finished run: pictures before and after, losses, recipe, and what to do next.

The pictures are those that `generate` makes of a few prompts with the model that the run began with
and with its result. They are made when the result is there, by the road that `generate` takes:
training knows nothing of them, and a run that is not asked for them has the same bits.
"""

import gc
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from diffusion4k.data.folder import photo_folder, rows_of
from diffusion4k.data.metadata import Row
from diffusion4k.data.problems import Problem
from diffusion4k.errors import Diffusion4kError
from diffusion4k.sampling import Output, Request, Sampler, generate
from diffusion4k.support.data_uri import jpeg_uri
from diffusion4k.support.devices import default_device, empty_cache
from diffusion4k.support.files import write_text
from diffusion4k.support.report_page import render
from diffusion4k.support.versions import versions
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.curve import Curve
from diffusion4k.training.watch.loss_figure import loss_curve

__all__ = ["REPORT", "next_commands", "validation_losses", "write_run_report"]

REPORT = "report.html"

_LARGEST = 1024
"""Pixels a side, unless the trained model makes larger ones alone."""
_LIMIT = 4096
_SHOWN = 700
"""Pixels a side in the page."""


@dataclass(frozen=True)
class _Pair:
    """A prompt's pictures."""

    prompt: str
    caption: str
    before: str
    after: str


def write_run_report(recipe: Recipe, result: Path) -> Path | None:
    """Write `OUTPUT/report.html` of a run that has its result; None if the recipe asks for none.

    What keeps pictures from being made stands in the page, and on standard error: the result is
    there, and no reason to fail.
    """
    if recipe.report is None:
        return None
    pairs, lack = [], ""
    if recipe.report.pictures:
        try:
            pairs = _pairs(recipe, result)
            lack = "" if pairs else "no prompts: the recipe has none, and there are no captions"
        # A GPU without room says RuntimeError; whatever it is, the run itself went well.
        except (Diffusion4kError, OSError, RuntimeError) as error:
            lack = " ".join(str(error).split())[:300]
            print(f"{REPORT} has no pictures: {lack}", file=sys.stderr, flush=True)
    losses = validation_losses(recipe)
    training = [(int(r["step"]), float(r["loss"])) for r in Curve.read(recipe.output / "loss.csv")]
    page = render(
        "training/watch/run_report.html",
        recipe=recipe,
        result=result,
        pairs=pairs,
        lack=lack,
        losses=losses,
        photographs=_photographs(recipe),
        curve=loss_curve(training, losses) if training else "",
        commands=next_commands(recipe, result),
        versions=versions(),
    )
    path = recipe.output / REPORT
    write_text(path, page)
    return path


def validation_losses(recipe: Recipe) -> list[tuple[int, float]]:
    """Steps and losses that the run noted."""
    rows = Curve.read(recipe.output / "validation.csv")
    return [(int(row["step"]), float(row["loss"])) for row in rows]


def next_commands(recipe: Recipe, result: Path) -> list[tuple[str, str]]:
    """What to do with the result: in words, and as it is typed."""
    model = shlex.quote(recipe.model)
    lora = f" --lora {shlex.quote(str(result))}" if recipe.lora else ""
    tuned = model + lora if recipe.lora else shlex.quote(str(result))
    return [
        ("make an image with it", f"diffusion4k generate PROMPT --model {tuned} --out after"),
        ("and one without", f"diffusion4k generate PROMPT --model {model} --out before"),
        ("side by side", "diffusion4k compare before after --out comparison"),
    ]


def _pairs(recipe: Recipe, result: Path) -> list[_Pair]:
    prompts = _prompts(recipe)
    if not prompts:
        return []
    gc.collect()  # of what training held
    empty_cache(default_device())
    folder = recipe.output / "report"
    tuned = Sampler(recipe.model, lora=result) if recipe.lora else Sampler(result)
    size = _size(recipe, tuned)
    before = _pictures(recipe, prompts, size, Sampler(recipe.model), folder / "before")
    after = _pictures(recipe, prompts, size, tuned, folder / "after")
    return [
        _Pair(first.settings.prompt, _caption(first), _shown(first.path), _shown(second.path))
        for first, second in zip(before, after, strict=True)
    ]


def _pictures(
    recipe: Recipe, prompts: list[str], size: tuple[int, int], sampler: Sampler, folder: Path
) -> list[Output]:
    seed, (width, height) = recipe.validation.seed, size
    requests = [Request(prompt, seed, width=width, height=height) for prompt in prompts]
    return generate(requests, sampler, out=folder, image_format="jpeg")


def _prompts(recipe: Recipe) -> list[str]:
    """Prompts of the recipe, else captions taken evenly from the photographs."""
    assert recipe.report
    count = recipe.report.pictures
    if recipe.validation.prompts:
        return list(dict.fromkeys(recipe.validation.prompts))[:count]
    rows = [row for row in _rows(recipe) if isinstance(row, Row)]
    texts = list(dict.fromkeys(row.text for row in rows if row.text))
    chosen = [texts[number * len(texts) // count] for number in range(count)] if texts else []
    return list(dict.fromkeys(chosen))


def _size(recipe: Recipe, sampler: Sampler) -> tuple[int, int]:
    """The crop's shape, at most `_LARGEST`, or so large that the trained model takes part.

    Where images are made in stages, smaller ones may be another model's alone.
    """
    assert recipe.report
    if recipe.report.side:
        return _shaped(recipe, recipe.report.side)
    side = min(max(recipe.crop_size), _LARGEST)
    while True:
        width, height = _shaped(recipe, side)
        stages = sampler.settle(Request("any", width=width, height=height)).stages
        if not stages or stages[-1].model is None or side >= _LIMIT:
            return width, height
        side = side * 5 // 4


def _shaped(recipe: Recipe, side: int) -> tuple[int, int]:
    """Width and height in whole patches, with this longer side and the crop's shape."""
    longer = max(recipe.crop_size)
    width, height = (max(round(each * side / longer / 32), 1) * 32 for each in recipe.crop_size)
    return width, height


def _rows(recipe: Recipe) -> Iterable[Row | Problem]:
    return [] if recipe.data is None else rows_of(photo_folder(recipe.data))


def _photographs(recipe: Recipe) -> int | None:
    try:
        return sum(isinstance(row, Row) for row in _rows(recipe)) or None
    except Diffusion4kError:  # gone since it was cached
        return None


def _caption(made: Output) -> str:
    settings = made.settings
    how = f"{len(settings.stages)} stages" if settings.stages else f"{settings.steps} steps"
    return f"{settings.width}×{settings.height}, {how}, seed {settings.seed}"


def _shown(path: Path) -> str:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((_SHOWN, _SHOWN), Image.Resampling.LANCZOS)
    return jpeg_uri(image, 88)
