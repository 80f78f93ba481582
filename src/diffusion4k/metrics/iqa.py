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
from threading import Lock
from typing import Any, Literal

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.images import ImageLike, as_array
from diffusion4k.metrics.measure import Column, Found, Mean, MetricUnavailable
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.weights import fingerprint, one_line

__all__ = ["HEADINGS", "IqaMeasure", "IqaScore"]

HEADINGS = {"niqe": "NIQE", "musiq": "MUSIQ", "maniqa": "MANIQA"}
"""Headings of the usual scores; others are named as pyiqa names them."""


class IqaScore:
    """A score of pyiqa by its name, such as `niqe`.

    Raises:
        NotHere: no pyiqa.
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
            self._metric: Any = pyiqa.create_metric(name, device=torch.device(device))
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


class IqaMeasure:
    """A score of pyiqa of each picture."""

    needs_prompt = False
    needs_original = False

    def __init__(self, score: IqaScore) -> None:
        self._score = score
        self.name = score.name
        heading = HEADINGS.get(score.name, score.name)
        better: Literal["lower", "higher"] = "lower" if score.lower_better else "higher"
        self.columns: tuple[Column, ...] = (Mean(score.name, heading, better, 3),)
        self.protocol = f"pyiqa {score.version} {score.name}, weights {score.fingerprint()}"

    def __call__(self, picture: MeasuredImage) -> Found:
        return Found({self.name: self._score(picture.pixels)})
