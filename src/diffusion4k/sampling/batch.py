"""A run of many images that can be stopped at any time and taken up again."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import UsageError
from diffusion4k.sampling.beside import Finishing
from diffusion4k.sampling.files import SUFFIXES, image_name, is_made_here, is_present, write_image
from diffusion4k.sampling.kept import KeptStages
from diffusion4k.sampling.progress import SamplingProgress
from diffusion4k.sampling.request import Request, SamplingSettings
from diffusion4k.sampling.sampler import Sampler

__all__ = ["Output", "generate"]

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
_OTHER_FORMATS = {".avif", ".bmp", ".gif", ".heic", ".jxl", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Output:
    """One image of a run: its file, what made it, and whether this run made it or found it."""

    path: Path
    settings: SamplingSettings
    is_new: bool


def generate(
    requests: Iterable[Request],
    model: str | Path | Sampler = "pocket",
    *,
    out: str | Path = "images",
    image_format: str | None = None,
    keep_stages: bool = False,
    progress: bool = True,
    **options: Any,
) -> list[Output]:
    """Make the images of all requests; those already there with the same settings are kept.

    Args:
        requests: equal ones are made once.
        model: `pocket`, a folder in diffusers layout, a hub id, or a `Sampler` already loaded.
        out: a folder, or for one image a file ending in .png, .jpg or .jpeg.
        image_format: `png` (default) or `jpeg`; a file name decides by its suffix.
        keep_stages: leave the pictures of an image's stages in a folder `NAME-stages` beside it.
        progress: bars (on a terminal) or lines on standard error.
        options: those of `Sampler`: device, dtype, memory and so on.

    Returns:
        One `Output` per different request, in order.

    Raises:
        UsageError: a request out of range, or an output path that is not usable.
        Diffusion4kError: the model cannot be found, loaded or run.
    """
    place = _Destination(Path(out), image_format)
    sampler = model
    if not isinstance(sampler, Sampler):
        sampler = Sampler(sampler, **options)
    wanted = list(dict.fromkeys(sampler.settle(request) for request in requests))
    paths = place.paths(wanted)
    missing = [not is_present(path, each) for path, each in zip(paths, wanted, strict=True)]
    outputs = [Output(*each) for each in zip(paths, wanted, missing, strict=True)]
    todo = [output for output in outputs if output.is_new]
    if not todo:
        return outputs
    with SamplingProgress([output.settings for output in todo], shown=progress) as bars:
        bars.stage(f"loading text encoders of {sampler.model}, encoding prompts")
        sampler.encode_for(output.settings for output in todo)
        bars.stage(f"loading the other parts of {sampler.model}")
        sampler.load()
        with Finishing(sampler.device, is_beside=sampler.placement.decodes_beside) as finishing:
            for output in todo:
                written = bars.image()
                kept = KeptStages(output.path, output.settings, stay=keep_stages)
                strips = sampler.sample_strips(
                    output.settings, on_step=bars.step, on_stage=bars.begin_stage, kept=kept
                )
                finishing.finish(partial(_write, strips, output, kept, written))
    return outputs


def _write(
    strips: Iterable[NDArray[np.uint8]],
    output: Output,
    kept: KeptStages,
    written: Callable[[str], None],
) -> None:
    write_image(strips, output.path, output.settings)
    kept.finish()
    written(str(output.path))


class _Destination:
    """Where images go: a folder, or one file."""

    def __init__(self, out: Path, image_format: str | None) -> None:
        if image_format is not None and image_format not in SUFFIXES:
            raise UsageError(f"format {image_format}: allowed are {', '.join(SUFFIXES)}")
        suffix = out.suffix.lower()
        self.out = out
        self.is_file = suffix in _FORMATS and not out.is_dir()
        self.suffix = SUFFIXES[image_format or "png"]
        if suffix in _OTHER_FORMATS and not out.is_dir():
            raise UsageError(f"{out}: {suffix} is not written; allowed are .png, .jpg and .jpeg")
        if self.is_file and image_format not in (None, _FORMATS[suffix]):
            raise UsageError(f"{out}: the suffix contradicts the format {image_format}")
        if not self.is_file and out.exists() and not out.is_dir():
            raise UsageError(f"{out}: is a file; give a folder, or a name ending in .png or .jpg")

    def paths(self, wanted: list[SamplingSettings]) -> list[Path]:
        """The file of each image; makes the folder and sees that it can be written to."""
        folder = self.out.parent if self.is_file else self.out
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{folder}: no permission to write there")
        if not self.is_file:
            return [self.out / image_name(settings, self.suffix) for settings in wanted]
        if len(wanted) != 1:
            raise UsageError(f"{self.out}: {len(wanted)} images do not fit one file: give a folder")
        if self.out.exists() and not is_made_here(self.out):
            raise UsageError(
                f"{self.out}: exists and was not made by diffusion4k: choose another name"
            )
        return [self.out]
