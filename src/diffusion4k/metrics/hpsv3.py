"""HPSv3: which picture people prefer for a prompt, by a fine-tuned Qwen2-VL-7B.

By the authors' package (`hpsv3` 1.0.0). All that is asked of it:

    scorer = hpsv3.HPSv3RewardInferencer(checkpoint_path=FILE, device=DEVICE)
    scorer.reward(prompts=[PROMPT], image_paths=[PIL image])[0][0]       # mean; [0][1] is its sigma

The arguments go by name, as their order changed between its versions. The checkpoint is
`MizzenAI/HPSv3/HPSv3.safetensors`; the package takes the base model Qwen/Qwen2-VL-7B-Instruct from
the hub or its cache. It sees a picture at about 200,000 pixels; the best models of 4K pictures
stand at about 11. The package asks for transformers 4.45.2, older than diffusion4k's: install it
with `--no-deps` and its other needs by hand, or measure in an environment of its own.

Source: Ma et al., arXiv 2508.03789; MizzenAI/HPSv3.
"""

import importlib
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from diffusion4k.config.types import Section, Text
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.clip_score import prompt_of
from diffusion4k.metrics.images import ImageLike, as_pil
from diffusion4k.metrics.measure import (
    Column,
    Found,
    Mean,
    Measure,
    MeasureSetup,
    MetricUnavailable,
)
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.weights import find_weights, one_line
from diffusion4k.support.files import sha256_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["HpsV3", "HpsV3Measure"]


class _Scorer(Protocol):
    """`HPSv3RewardInferencer` of the package."""

    def reward(self, *, prompts: list[str], image_paths: "list[Image]") -> "Tensor": ...


class HpsV3:
    """The scorer; one picture at a time.

    Args:
        weights: the checkpoint, a file or `OWNER/NAME/FILE` on the hub.

    Raises:
        MetricUnavailable: no package.
        UsageError: no such file.
        Diffusion4kError: it cannot be loaded.
    """

    def __init__(self, weights: str | Path, device: str = "cpu") -> None:
        try:
            package = importlib.import_module("hpsv3")
        except ImportError as error:
            raise MetricUnavailable(
                f"hpsv3 cannot be imported ({error}): pip install --no-deps hpsv3, and what it "
                "needs (it asks for transformers 4.45.2)"
            ) from None
        self.path = find_weights(weights)
        try:
            self._scorer: _Scorer = package.HPSv3RewardInferencer(
                checkpoint_path=str(self.path), device=device
            )
        except Exception as error:
            raise Diffusion4kError(f"{self.path}: HPSv3 does not load: {one_line(error)}") from None
        self._lock = Lock()

    def __call__(self, image: ImageLike, prompt: str) -> float:
        """The mean of the score of one picture for one prompt; `Diffusion4kError` if it fails."""
        try:
            with self._lock:
                found = self._scorer.reward(prompts=[prompt], image_paths=[as_pil(image)])
            return float(found[0][0])
        except (RuntimeError, ValueError, TypeError) as error:
            raise Diffusion4kError(f"HPSv3 failed: {one_line(error)}") from None


class HpsV3Section(Section):
    """Weights of HPSv3."""

    hpsv3: Text | None = None
    """MizzenAI/HPSv3/HPSv3.safetensors; needs the package hpsv3."""


class HpsV3Measure(Measure):
    """HPSv3 of each picture."""

    name = "hpsv3"
    columns: tuple[Column, ...] = (Mean("hpsv3", "HPSv3", "higher", 2),)
    needs_prompt = True
    position = 190
    section = HpsV3Section

    def __init__(self, scorer: HpsV3) -> None:
        self._scorer = scorer
        self.protocol = f"HPSv3, weights {sha256_of(scorer.path)}"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "HpsV3Measure":
        """By the checkpoint that `hpsv3` names."""
        return cls(HpsV3(setup.weights("hpsv3"), setup.device))

    def __call__(self, picture: MeasuredImage) -> Found:
        return Found({"hpsv3": self._scorer(picture.pil, prompt_of(picture))})
