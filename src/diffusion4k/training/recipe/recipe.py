"""A recipe: one YAML file that says everything about a run, checked before anything starts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypedDict

import yaml
from pydantic import BeforeValidator, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from diffusion4k.config.part_section import PartSection, choice, section_of
from diffusion4k.config.read import read_config
from diffusion4k.config.types import (
    Address,
    Beta,
    Count,
    NonNegative,
    Number,
    Output,
    Pixels,
    Positive,
    Probability,
    Section,
    Seed,
    Text,
    square,
)
from diffusion4k.data.buckets import LONGEST
from diffusion4k.errors import UsageError
from diffusion4k.models.high_resolution import HighResolution
from diffusion4k.objectives import Objective, WaveletFlow
from diffusion4k.timesteps import LogitNormal, TimestepDistribution

__all__ = [
    "BucketsRecipe",
    "CheckpointRecipe",
    "GuardRecipe",
    "LogRecipe",
    "LoraRecipe",
    "LoraStart",
    "ModelOptions",
    "OptimizerRecipe",
    "Recipe",
    "ReportRecipe",
    "RunRecipe",
    "ScheduleRecipe",
    "StageRecipe",
    "StoredLatents",
    "ValidationRecipe",
    "load_recipe",
]

if TYPE_CHECKING:
    ObjectiveSection: TypeAlias = PartSection
    TimestepsSection: TypeAlias = PartSection
else:
    ObjectiveSection = choice(Objective, unnamed=WaveletFlow.name)
    TimestepsSection = choice(TimestepDistribution, unnamed=LogitNormal.name)


Rank: TypeAlias = Annotated[Count, Field(le=1 << 14)]
_KINDS = {"lora": "LoRA", "dora": "DoRA", "lokr": "LoKr"}


def _named_file(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


class StoredLatents(TypedDict):
    """What a cache holds of a photograph: keyword arguments of `build_cache` and others."""

    resolution: int
    longest: float | None
    posterior: bool
    enlarge: bool
    enlargement: int | None


class ModelOptions(TypedDict):
    """What is given in place of a model's own settings: keyword arguments of `family_of`."""

    high_resolution: dict[str, object]
    max_sequence_length: int | None


class OptimizerRecipe(Section):
    """AdamW; the defaults are the paper's. Others: see `optimizers`."""

    name: Literal["adamw", "adamw8bit", "paged-adamw8bit", "adafactor", "muon"] = "adamw"
    learning_rate: Positive = 1e-6
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    weight_decay: NonNegative = 1e-4
    eps: Positive = 1e-8

    @property
    def is_shareable(self) -> bool:
        """Whether FSDP2 can share it out; if not, each process holds all of the network."""
        return self.name not in ("adafactor", "adamw8bit", "paged-adamw8bit")


class LoraStart(Section):
    """A LoRA to begin with, and how strongly it counts."""

    file: Text
    scale: Number = 1.0


class LoraRecipe(Section):
    """Adapters of the linear layers `targets` in place of all weights; see `lora.trainable`.

    A target is the end of a layer's dotted name; null: those that the family names. Patterns are
    regular expressions for such an end, by which layers have a rank or an alpha of their own.
    `weights` are the frozen ones in fewer bits. Text encoders are never adapted.
    """

    kind: Literal["lora", "dora", "lokr"] = "lora"
    rank: Rank = 16
    alpha: Count = 16
    rank_pattern: dict[Text, Rank] = Field(default_factory=dict)
    alpha_pattern: dict[Text, Positive] = Field(default_factory=dict)
    targets: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    weights: Literal["int8", "nf4"] | None = None
    start: Annotated[
        tuple[Annotated[LoraStart, BeforeValidator(_named_file)], ...],
        BeforeValidator(lambda v: [v] if isinstance(v, (str, dict)) else v),
    ] = ()

    @model_validator(mode="after")
    def _can_be_trained(self) -> "LoraRecipe":
        if self.kind == "lokr" and self.weights:
            raise PydanticCustomError(
                "lokr", "lora.weights: found with kind=lokr, allowed with lora and dora: leave out"
            )
        return self

    @property
    def label(self) -> str:
        """What is trained, in words."""
        return f"{_KINDS[self.kind]} of rank {self.rank}"


class BucketsRecipe(Section):
    """Photographs keep their shape, at about `resolution` squared pixels, up to `longest`:1."""

    longest: Annotated[Number, Field(ge=1, le=LONGEST)] = 2.4


class StageRecipe(Section):
    """Trains a stage of sampling: from pictures enlarged so many times, noised to `start`."""

    enlargement: Annotated[Count, Field(ge=2, le=8)] = 2
    start: Annotated[Number, Field(gt=0, lt=1)] = 0.45


class ScheduleRecipe(Section):
    """How the learning rate goes over the run."""

    name: Literal["constant", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(strict=True, ge=0)] = 0


class LogRecipe(Section):
    """Curves by band and throughput every so many steps; `name` of the run is the output's."""

    every: Count = 10
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    project: Text = "diffusion4k"
    name: Text | None = None
    mode: Literal["offline", "online"] = "offline"


class GuardRecipe(Section):
    """A step is skipped whose loss is not finite, or above `spike` times the median of `window`.

    After `patience` such steps in a row the run stops: by default at the first.
    """

    spike: Annotated[Number, Field(gt=1)] | None = None
    window: Annotated[int, Field(strict=True, ge=10)] = 50
    patience: Count = 1


class CheckpointRecipe(Section):
    """A checkpoint every so many steps; the newest `keep` stay, and one each `keep_every` steps."""

    every: Count = 500
    keep: Count = 2
    keep_every: Count | None = None

    @model_validator(mode="after")
    def _meets_checkpoints(self) -> "CheckpointRecipe":
        if self.keep_every and self.keep_every % self.every:
            raise PydanticCustomError(
                "keep_every",
                "checkpoint.keep_every: found {found}, allowed a multiple of every={every}",
                {"found": self.keep_every, "every": self.every},
            )
        return self


class ValidationRecipe(Section):
    """Every so many steps (null: never): a loss on `samples` fixed pictures, one image a prompt.

    Null sizes are the crop's, null `sampling_steps` and `guidance` the model's own. In the
    `background` a process of its own makes the images while training continues, on `device` (null:
    the CPU).
    """

    every: Count | None = 500
    samples: Annotated[int, Field(strict=True, ge=0)] = 8
    prompts: tuple[Text, ...] = ()
    seed: Seed = 0
    width: Pixels | None = None
    height: Pixels | None = None
    sampling_steps: Count | None = None
    guidance: NonNegative | None = None
    background: bool = False
    device: Text | None = None


class ReportRecipe(Section):
    """The page of a run at its end, with as many pictures before and after it (0: none).

    Their longer side is `side`; null: the crop's, at most 1024, or the least in which the trained
    model takes part.
    """

    pictures: Annotated[int, Field(strict=True, ge=0, le=100)] = 2
    side: Pixels | None = None


class RunRecipe(Section):
    """What every kind of training has: model, pictures, result, and how steps are taken."""

    model: Text
    data: Text
    output: Output
    optimizer: OptimizerRecipe = OptimizerRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    steps: Count
    batch_size: Count = 1
    gradient_accumulation: Count = 1
    clip_norm: Positive | None = 1.0
    gradient_checkpointing: Annotated[
        StrictBool | Annotated[int, Field(strict=True, ge=2)] | Literal["selective"],
        Field(union_mode="left_to_right"),
    ] = True
    precision: Literal["auto", "bf16", "fp32", "fp8"] = "auto"
    ema: Annotated[Number, Field(gt=0, lt=1)] | None = None
    checkpoint: CheckpointRecipe = CheckpointRecipe()
    flip: bool = True
    seed: Seed = 0

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> "RunRecipe":
        if self.schedule.warmup_steps >= self.steps and self.schedule.warmup_steps:
            raise PydanticCustomError(
                "warmup",
                "schedule.warmup_steps: found {found}, allowed less than steps={steps}: use more "
                "steps, or fewer of warm-up (schedule.warmup_steps=0)",
                {"found": self.schedule.warmup_steps, "steps": self.steps},
            )
        return self

    def as_yaml(self) -> str:
        """The whole recipe, defaults included, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class Recipe(RunRecipe):
    """Fine-tuning of a transformer."""

    data: Text | None = None  # type: ignore[assignment]
    lora: LoraRecipe | None = None
    high_resolution: HighResolution = HighResolution()
    max_sequence_length: Count | None = None
    cache: Annotated[Address | Path | None, Field(union_mode="left_to_right")] = None
    cache_dtype: Literal["float16", "bfloat16", "float32"] | None = None
    posterior: Literal["mean", "sample"] = "mean"
    uncached: bool = False
    resolution: Pixels
    enlarge: StrictBool = True
    stage: Annotated[
        StageRecipe | None, BeforeValidator(lambda v: {} if v is True else v or None)
    ] = None
    buckets: Annotated[
        BucketsRecipe | None, BeforeValidator(lambda v: {} if v is True else v or None)
    ] = None
    crop: Annotated[tuple[Pixels, Pixels] | None, BeforeValidator(square)] = None
    objective: ObjectiveSection = section_of(WaveletFlow)()
    timesteps: TimestepsSection = section_of(LogitNormal)()
    validation: ValidationRecipe = ValidationRecipe()
    global_batch_size: Count | None = None
    report: Annotated[
        ReportRecipe | None,
        BeforeValidator(lambda v: {} if v is True else None if v is False else v),
    ] = ReportRecipe()
    log: LogRecipe = LogRecipe()
    guard: GuardRecipe = GuardRecipe()
    engine: Literal["auto", "ddp", "fsdp2", "deepspeed"] = "auto"
    offload: bool = False
    context_parallel: Count = 1
    compile: bool = False
    caption_dropout: Probability = 0.0
    first_stage: Count | None = None

    @property
    def crop_size(self) -> tuple[int, int]:
        """Width and height of the training crops in pixels."""
        return self.crop or (self.resolution, self.resolution)

    def for_processes(self, count: int) -> "Recipe":
        """The recipe with the `gradient_accumulation` by which so many processes take a step.

        Raises:
            UsageError: `global_batch_size` is no multiple of `batch_size` times `count`.
        """
        if self.global_batch_size is None:
            return self
        parts, rest = divmod(self.global_batch_size, self.batch_size * count)
        if rest or not parts:
            most = self.global_batch_size // self.batch_size
            fitting = [
                n for n in range(1, most + 1) if not self.global_batch_size % (n * self.batch_size)
            ]
            raise UsageError(
                f"global_batch_size: found {self.global_batch_size}, which {count} processes with "
                f"batch_size {self.batch_size} cannot divide: start {_any_of(fitting)} processes, "
                "or change one of these"
            )
        return self.model_copy(update={"gradient_accumulation": parts})

    @property
    def longest(self) -> float | None:
        """Greatest aspect of the buckets; None without them."""
        return self.buckets.longest if self.buckets else None

    @property
    def stored(self) -> StoredLatents:
        """What the cache of a run holds of a photograph."""
        return {
            "resolution": self.resolution,
            "longest": self.longest,
            "posterior": self.posterior == "sample",
            "enlarge": self.enlarge,
            "enlargement": self.stage.enlargement if self.stage else None,
        }

    @property
    def model_options(self) -> ModelOptions:
        """What the recipe gives in place of the model's own settings."""
        return {
            "high_resolution": self.high_resolution.model_dump(exclude_none=True),
            "max_sequence_length": self.max_sequence_length,
        }

    @property
    def cache_folder(self) -> Path | str:
        """Where latents and text embeddings are kept: a folder, or an address as `s3://...`."""
        return self.cache or self.output / "cache"

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        if self.data is None and self.cache is None:
            raise PydanticCustomError(
                "data", "data: missing; give photographs, or a complete cache to train from"
            )
        if self.uncached and (self.data is None or isinstance(self.cache, str)):
            raise PydanticCustomError(
                "uncached", "uncached: found true, which needs photographs in a folder: give data"
            )
        width, height = self.crop_size
        if min(width, height) > self.resolution:
            raise PydanticCustomError(
                "crop",
                "crop: found {crop}, allowed at most resolution={resolution} on the shorter side",
                {"crop": f"{width}x{height}", "resolution": self.resolution},
            )
        if self.buckets and self.crop:
            raise PydanticCustomError(
                "buckets", "crop: found with buckets, which give every picture its size: leave out"
            )
        return self


def _any_of(numbers: list[int]) -> str:
    shown = [*map(str, numbers[:8]), *(["..."] if len(numbers) > 8 else [])]
    return " or ".join(shown) or "no number of"


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read and check a recipe; `overrides` are strings `key.key=value`.

    Raises:
        UsageError: one line that names every problem found.
    """
    return read_config(path, overrides, Recipe)
