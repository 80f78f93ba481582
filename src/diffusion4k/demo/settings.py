"""What the demo is asked to do, and the settings that follow from it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffusion4k.config.part_section import section_of
from diffusion4k.errors import UsageError
from diffusion4k.metrics.detail import DetailLikeness
from diffusion4k.metrics.measure import Measure
from diffusion4k.metrics.registry import make_measures
from diffusion4k.metrics.settings import MeasureSettings as MetricSettings
from diffusion4k.metrics.spectrum import SpectrumMeasure
from diffusion4k.metrics.token_grid import TokenGrid
from diffusion4k.timesteps import Uniform
from diffusion4k.training.recipe.recipe import (
    CheckpointRecipe,
    OptimizerRecipe,
    Recipe,
    ScheduleRecipe,
    StageRecipe,
    ValidationRecipe,
)

__all__ = [
    "ASPECT_PROMPT",
    "DIRECT_STEPS",
    "MODEL",
    "PROMPTS",
    "STEPS",
    "Demo",
    "demo_recipe",
    "further_measures",
    "metric_settings",
]

PROMPTS = (
    "A hiking path over a grassy slope below snowy grey mountain peaks.",
    "A small stream runs over mossy rocks through a forest.",
)
ASPECT_PROMPT = "A dandelion seed head in a meadow, backlit by warm evening sun."
MODEL = "pocket-base"
STEPS = 160
DIRECT_STEPS = 4
"""Steps of the image without stages: it takes all tokens at once, and shows why not to."""
WINDOW = 1024
"""Pixels a side of the training crops: what a window of a stage shows the pocket model."""

_PATCH = MetricSettings.patch_size
_LEAST_SIDE = 384  # the 4:3 picture must hold a patch of the Fréchet distance


@dataclass(frozen=True)
class Demo:
    """What the demo is asked to do; None takes the model's or the recipe's own value.

    Raises:
        UsageError: `side` is no multiple of 128 or too small.
    """

    out: Path = Path("demo")
    model: str = MODEL
    side: int = 4096
    sampling_steps: int | None = None
    training_steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.side < _LEAST_SIDE or self.side % 128:
            below = max(self.side // 128 * 128, _LEAST_SIDE)
            raise UsageError(
                f"side {self.side}: not a multiple of 128 from {_LEAST_SIDE} on (both the square "
                f"and the 4:3 picture need whole tokens); the nearest: {below} or {below + 128}"
            )

    @property
    def in_bfloat16(self) -> bool:
        """Whether a CPU computes it in bfloat16, where that is the faster: half the time."""
        # Not before the settings are looked at, which takes no library.
        from diffusion4k.support.devices import default_device, multiplies_bfloat16

        return default_device().type == "cpu" and multiplies_bfloat16()

    def to_json(self) -> dict[str, Any]:
        """The settings, without the output path."""
        return {name: value for name, value in asdict(self).items() if name != "out"}


def demo_recipe(demo: Demo) -> Recipe:
    """The fine-tuning of the demo: `recipes/pocket-wlf.yaml` with the demo's folders and size."""
    steps = demo.training_steps or STEPS
    every = max(1, steps // 2)
    return Recipe(
        model=demo.model,
        data="pocket",
        output=demo.out / "training",
        cache=demo.out / "cache",
        precision="bf16" if demo.in_bfloat16 else "auto",
        resolution=demo.side,
        enlarge=False,
        crop=(min(WINDOW, demo.side),) * 2,
        flip=False,
        stage=StageRecipe(enlargement=6, start=0.6),
        first_stage=2048,
        timesteps=section_of(Uniform)(),
        optimizer=OptimizerRecipe(learning_rate=2e-3, betas=(0.9, 0.99), weight_decay=0.01),
        schedule=ScheduleRecipe(name="cosine", warmup_steps=min(20, steps - 1)),
        steps=steps,
        batch_size=4,
        ema=0.98,
        gradient_checkpointing=False,
        checkpoint=CheckpointRecipe(every=every),
        validation=ValidationRecipe(every=every, samples=9),
        seed=demo.seed,
    )


def metric_settings(demo: Demo) -> MetricSettings:
    """Settings with as many patches per photograph as a demo image holds, up to the default."""
    fitting = (demo.side // _PATCH) ** 2
    return MetricSettings(
        reencode=True, patches_per_image=min(fitting, MetricSettings.patches_per_image)
    )


def further_measures() -> list[Measure]:
    """What is measured beside texture, size and Fréchet distances."""
    kinds = (SpectrumMeasure, DetailLikeness, TokenGrid)
    return make_measures(wanted=kinds.__contains__)[0]
