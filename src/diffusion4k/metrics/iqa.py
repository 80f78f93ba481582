"""NIQE, MUSIQ, MANIQA and other scores of one picture without reference, by the package pyiqa.

`pip install pyiqa` brings torchvision; diffusion4k itself never imports it. The package fetches its
own weights from the hub (chaofengc/IQA-PyTorch-Weights) when a score is first made. All that is
asked of it (pyiqa 0.1.16):

    metric = pyiqa.create_metric(NAME, device=torch.device(DEVICE))
    metric.lower_better                      # bool
    metric(pixels)                           # (1, 3, H, W) in [0, 1], RGB -> one number

with its default variants: `niqe` on luma, `musiq` of KonIQ-10k, `maniqa` of KonIQ-10k on 20 evenly
placed crops of 224x224. All see the picture at its own size.

Sources: Mittal et al. 2013 (NIQE), Ke et al., arXiv 2108.05997 (MUSIQ), Yang et al., arXiv
2204.08958 (MANIQA); chaofengc/IQA-PyTorch.
"""

import importlib
import math
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

from diffusion4k.config.types import Section, Text
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.images import ImageLike, as_array
from diffusion4k.metrics.measure import (
    Column,
    Found,
    Mean,
    Measure,
    MeasureSetup,
    MetricUnavailable,
)
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.weights import fingerprint, one_line

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["IqaMeasure", "IqaScore"]


class _Metric(Protocol):
    """A score of `pyiqa`."""

    lower_better: bool

    def __call__(self, pixels: "Tensor") -> "Tensor": ...

    def state_dict(self) -> "dict[str, Tensor]": ...


class IqaScore:
    """A score of pyiqa by its name, such as `niqe`.

    Raises:
        MetricUnavailable: no pyiqa.
        Diffusion4kError: no such score, or no weights.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        import torch

        try:
            pyiqa = importlib.import_module("pyiqa")
        except ImportError as error:
            raise MetricUnavailable(
                f"pyiqa cannot be imported ({error}): pip install pyiqa (it brings torchvision)"
            ) from None
        try:
            self._metric: _Metric = pyiqa.create_metric(name, device=torch.device(device))
        except Exception as error:
            raise Diffusion4kError(
                f"pyiqa cannot make {name!r} here ({one_line(error)}): `pyiqa -ls` lists its "
                "names; the first use fetches weights from the hub"
            ) from None
        self.name = name
        self.lower_better = bool(self._metric.lower_better)
        self.version = str(getattr(pyiqa, "__version__", "of unknown version"))
        # MANIQA keeps features of the picture in itself while it works.
        self._lock = Lock()

    def __call__(self, image: ImageLike) -> float:
        """Raises `Diffusion4kError` if the score cannot be computed or is no number."""
        import torch

        pixels = torch.from_numpy(as_array(image).copy()).permute(2, 0, 1)[None].float() / 255
        try:
            with self._lock, torch.inference_mode():
                score = float(self._metric(pixels))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise Diffusion4kError(f"{self.name} of pyiqa failed: {one_line(error)}") from None
        if not math.isfinite(score):
            raise Diffusion4kError(f"{self.name} of pyiqa gives {score}: a picture without detail?")
        return score

    def fingerprint(self) -> str:
        """Changes with the weights that are tensors of the network."""
        return fingerprint(self._metric.state_dict())


class IqaSection(Section):
    """Which scores of pyiqa are made."""

    pyiqa: tuple[Text, ...] = ("niqe", "musiq", "maniqa")
    """Scores of the package pyiqa, where it is installed; it fetches its weights itself."""


class IqaMeasure(Measure):
    """A score of pyiqa of each picture; each score is a measure of its own."""

    columns: tuple[Column, ...] = (
        Mean("niqe", "NIQE", "lower", 3),
        Mean("musiq", "MUSIQ", "higher", 3),
        Mean("maniqa", "MANIQA", "higher", 3),
    )
    """Columns of the usual scores; others are named as pyiqa names them."""
    position = 200
    section = IqaSection

    def __init__(self, score: IqaScore) -> None:
        self._score = score
        self.name = score.name
        headings = {column.name: column.heading for column in type(self).columns}
        better: Literal["lower", "higher"] = "lower" if score.lower_better else "higher"
        self.columns = (Mean(score.name, headings.get(score.name, score.name), better, 3),)
        self.protocol = f"pyiqa {score.version} {score.name}, weights {score.fingerprint()}"

    @classmethod
    def makers(cls, setup: MeasureSetup) -> dict[tuple[str, ...], Callable[[], Measure]]:
        """One for each score that `pyiqa` names."""
        section = setup.section(IqaSection)
        asked = "pyiqa" in section.model_fields_set
        return {(name,): partial(cls._made, name, setup.device, asked) for name in section.pyiqa}

    @classmethod
    def _made(cls, name: str, device: str, asked: bool) -> Measure:
        try:
            return cls(IqaScore(name, device))
        except MetricUnavailable:
            raise
        except Diffusion4kError as error:
            if asked:
                raise
            raise MetricUnavailable(str(error)) from None

    def __call__(self, picture: MeasuredImage) -> Found:
        return Found({self.name: self._score(picture.pixels)})
