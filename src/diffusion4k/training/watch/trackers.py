"""Where curves and images go: TensorBoard, Weights & Biases and Trackio behind one interface.

Each is fed the same names (`train/loss`, `validation/01`, ...). A run that is resumed continues
there; steps that are computed again are reported again.
"""

import importlib.util
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from diffusion4k.errors import UsageError
from diffusion4k.support.files import write_text
from diffusion4k.training.recipe.recipe import LogRecipe

__all__ = ["TensorBoard", "Tracker", "check_trackers", "open_trackers"]

_PACKAGES = {"wandb": "wandb", "trackio": "trackio"}


class Tracker(Protocol):
    """What is reported of a run while it lasts."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars by name."""

    def add_image(self, step: int, name: str, image: Image.Image) -> None:
        """An RGB image."""

    def close(self) -> None:
        """Write out what is pending."""


def check_trackers(wanted: LogRecipe) -> None:
    """Refuse trackers that are not installed.

    Raises:
        UsageError: names the package.
    """
    for name in wanted.trackers:
        package = _PACKAGES.get(name)
        if package and importlib.util.find_spec(package) is None:
            raise UsageError(
                f"log.trackers: {name} is not installed: `pip install {package}`, or leave it out"
            )


def open_trackers(
    wanted: LogRecipe, output: Path, config: dict[str, object], *, resume_after: int
) -> list[Tracker]:
    """The recipe's trackers, for the run whose folder is `output` and whose recipe is `config`."""
    name = wanted.name or output.name
    opened: list[Tracker] = []
    for kind in wanted.trackers:
        if kind == "tensorboard":
            opened.append(TensorBoard(output / "tensorboard", resume_after))
        elif kind == "wandb":
            opened.append(_WeightsAndBiases(wanted, name, output, config))
        else:
            opened.append(_Trackio(wanted, name, output, config))
    return opened


class TensorBoard:
    """TensorBoard files; on resume the viewer forgets the steps that are computed again."""

    def __init__(self, folder: Path, resume_after: int = -1) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=resume_after + 1)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def add_image(self, step: int, name: str, image: Image.Image) -> None:
        self._writer.add_image(name, np.asarray(_small(image)), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """Offline unless the recipe says online: `wandb sync` sends it later.

    Steps are a value of their own, as W&B's counter cannot go back to the step of a checkpoint.
    """

    def __init__(
        self, wanted: LogRecipe, name: str, output: Path, config: dict[str, object]
    ) -> None:
        import wandb

        self._image = wandb.Image
        self._run = wandb.init(
            project=wanted.project,
            name=name,
            id=_identity(output / "wandb-run.json"),
            resume="allow",
            mode=wanted.mode,
            dir=str(output),
            config=config,
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def add_image(self, step: int, name: str, image: Image.Image) -> None:
        self._run.log({"step": step, name: self._image(_small(image))})

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """Local: its database stands in the run's folder; `trackio show` with TRACKIO_DIR opens it."""

    def __init__(
        self, wanted: LogRecipe, name: str, output: Path, config: dict[str, object]
    ) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(output.absolute() / "trackio"))
        import trackio

        self._trackio = trackio
        self._run = trackio.init(
            project=wanted.project, name=name, config=config, resume="allow", embed=False
        )

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def add_image(self, step: int, name: str, image: Image.Image) -> None:
        self._run.log({name: self._trackio.Image(_small(image))}, step=step)

    def close(self) -> None:
        self._run.finish()


def _identity(path: Path) -> str:
    """The same for all starts of a run."""
    if not path.exists():
        write_text(path, json.dumps({"id": uuid.uuid4().hex[:12]}))
    return json.loads(path.read_text())["id"]


def _small(image: Image.Image) -> Image.Image:
    """Image of at most 1024 pixels a side for the viewer; the whole one is in the output."""
    small = image.copy()
    small.thumbnail((1024, 1024))
    return small
