"""A benchmark as a YAML file: prompts, models or folders of their images, and how to measure."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from diffusion4k.benchmark.prompts import SUPPLEMENT
from diffusion4k.config.problems import describe_problems
from diffusion4k.config.read import read_config
from diffusion4k.config.types import (
    Count,
    FolderName,
    NonNegative,
    Output,
    Section,
    Seed,
    Stages,
    Text,
    square,
)
from diffusion4k.errors import UsageError
from diffusion4k.metrics.networks import Networks
from diffusion4k.sampling.options import LoadingOptions, SamplingOptions

__all__ = ["BenchmarkEntry", "BenchmarkRecipe", "checked_recipe", "load_benchmark_recipe"]


class BenchmarkEntry(SamplingOptions, LoadingOptions):
    """A row of the table: a model that makes images, or a folder of images made elsewhere.

    What is left out of a model's settings is the model's own default.
    """

    name: FolderName
    model: Text | None = None
    images: Path | None = None
    lora: Text | None = None
    lora_scale: NonNegative | None = None
    stages: Stages | None = None

    @model_validator(mode="after")
    def _either(self) -> "BenchmarkEntry":
        if (self.model is None) == (self.images is None):
            raise PydanticCustomError("entry", "give either `model` or `images`, a folder")
        given = self.model_fields_set - {"name", "images"}
        if self.images is not None and given:
            raise PydanticCustomError(
                "entry",
                "{keys}: of a model, which a folder of images does not have",
                {"keys": ", ".join(sorted(given))},
            )
        return self


class BenchmarkRecipe(Section):
    """All that decides the results."""

    prompts: Text = SUPPLEMENT
    limit: Count | None = None
    """Number of prompts to use, from the first."""
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    models: tuple[BenchmarkEntry, ...] = Field(min_length=1)
    reference: Path | None = None
    """Folder of photographs for the distances (`pocket`: the bundled ones); by default that of the
    prompts."""
    output: Output = Path("runs/benchmark")
    width: Count | None = None
    height: Count | None = None
    """Size of images of all models that do not state their own."""
    steps: Count | None = None
    stages: Stages | None = None
    """Stages of all models that state neither `stages` nor `draft`; as those of an entry."""
    format: Literal["jpeg", "png"] = "jpeg"
    crop: Literal["common"] | Annotated[tuple[Count, Count], BeforeValidator(square)] | None = None
    """The centre of every image that is measured, in place of the whole: width and height, or
    `common`, the largest that all images have."""
    reencode: bool = False
    patch_size: Count = 224
    patches_per_image: Count = 64
    grid_period: Count = 32
    """Period of the token-grid ratio: pixels a side of a token, or of a window."""
    networks: Networks = Networks()
    """Weights of the metrics with networks; those that are not named are left empty."""
    metrics: tuple[Text, ...] = ()
    """`module:function` each, metrics of one's own: see `metrics.own`."""
    resamples: Count = 2000
    distance_groups: Annotated[int, Field(strict=True, ge=0)] = 20
    """Groups of pictures for the intervals of distances; with 0 they have none."""

    def sampling(self, entry: BenchmarkEntry) -> SamplingOptions:
        """How images of an entry are made: as it says, or as is said for all models."""
        for_all = SamplingOptions(
            width=self.width, height=self.height, steps=self.steps, stages=self.stages
        )
        return entry.over(for_all)

    @model_validator(mode="after")
    def _different(self) -> "BenchmarkRecipe":
        names = [entry.name.casefold() for entry in self.models]
        if again := next((n for n in names if names.count(n) > 1), None):
            raise PydanticCustomError(
                "names", "the name {name} is given twice: choose another", {"name": again}
            )
        return self


def load_benchmark_recipe(path: Path, overrides: list[str] | None = None) -> BenchmarkRecipe:
    """Read and check a recipe.

    Raises:
        UsageError: one line that names every problem.
    """
    return read_config(path, overrides, BenchmarkRecipe)


def checked_recipe(values: dict[str, Any]) -> BenchmarkRecipe:
    """A recipe from options.

    Raises:
        UsageError: as `load_benchmark_recipe`.
    """
    try:
        return BenchmarkRecipe.model_validate(values)
    except ValidationError as error:
        raise UsageError(describe_problems(error, BenchmarkRecipe, values)) from None
