"""A study as a YAML file: one training recipe, arms that change its objective, and the measures.

arms x seeds    runs, each trained to the last of `steps` and measured after each of them
"""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, StrictStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from diffusion4k.benchmark.prompts import SUPPLEMENT
from diffusion4k.config.problems import describe_problems
from diffusion4k.config.read import read_config
from diffusion4k.config.types import (
    Count,
    FolderName,
    NonNegative,
    Number,
    Output,
    Pixels,
    Section,
    Seed,
    Stages,
    Text,
)
from diffusion4k.errors import UsageError
from diffusion4k.families.stages import StageOptions
from diffusion4k.metrics.networks import Networks
from diffusion4k.sampling.options import SamplingOptions

__all__ = ["AblationRecipe", "GivenRecipe", "Staging", "VelocityQuestions", "load_study"]

GivenRecipe: TypeAlias = StrictStr | dict[str, Any]
"""A recipe's file, or its keys."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


class VelocityQuestions(Section):
    """Pictures and noise levels for the velocity's error of every arm."""

    data: Text | None = None
    """Photographs that are not trained on; null: the first `pictures` of those that are."""
    pictures: Count = 8
    levels: Annotated[int, Field(strict=True, ge=2, le=100)] = 10
    """Noise levels, in the middle of as many equal parts of 0 to 1."""
    seed: Seed = 0


class Staging(Section):
    """How images are made: of the study, or of an arm that says otherwise."""

    stages: Stages | None = None
    """Longer sides of the images' stages, the draft's first; `[]`: made directly."""
    stage_options: StageOptions | None = None
    """Options of all stages after the draft."""


class AblationRecipe(Section):
    """All that decides the results. Sizes and steps of sampling are null for the model's own."""

    recipe: GivenRecipe
    """Recipe of all runs; output, steps and seed are the study's."""
    arms: dict[FolderName, GivenRecipe] = Field(min_length=2)
    """What each changes: `objective` and `timesteps`, and how its images are made (`Staging`)."""
    baseline: FolderName
    """The arm from which the others' differences are taken."""
    equal: tuple[tuple[FolderName, FolderName], ...] = ()
    """Pairs of arms that must come out equal, as their objectives are: they prove the harness."""
    seeds: tuple[Seed, ...] = Field(min_length=1)
    steps: Annotated[tuple[Count, ...], BeforeValidator(_several), Field(min_length=1)]
    """The steps after which each run is measured; the last is its end."""
    prompts: Text = SUPPLEMENT
    limit: Count | None = None
    """Number of prompts to use, from the first."""
    sample_seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    width: Pixels | None = None
    height: Pixels | None = None
    sampling_steps: Count | None = None
    guidance: NonNegative | None = None
    stages: Stages | None = None
    """Longer sides of the images' stages, the draft's first; `[]`: made directly."""
    stage_options: StageOptions | None = None
    """Options of all stages after the draft."""
    reference: Text | None = None
    """Folder of photographs for spectra and distances; by default that of the prompts."""
    velocity: VelocityQuestions = VelocityQuestions()
    networks: Networks = Networks(pyiqa=())
    patch_size: Count = 224
    patches_per_image: Count = 64
    margin: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    """The share of the baseline's value below which a difference does not matter."""
    resamples: Count = 2000
    output: Output = Path("runs/ablation")

    def staging(self, arm: str | None) -> Staging:
        """How the images of an arm are made; None: of the model before any training."""
        given = self.arms.get(arm) if arm else None
        own = (
            {k: given[k] for k in Staging.model_fields if k in given} if type(given) is dict else {}
        )
        study = {"stages": self.stages, "stage_options": self.stage_options}
        if own.get("stages") == []:  # directly: the study's options of stages are not asked
            study["stage_options"] = None
        try:
            return Staging.model_validate(study | own)
        except ValidationError as error:
            raise UsageError(f"arms.{arm}: {describe_problems(error, Staging, own)}") from None

    def sampling(self, arm: str | None) -> SamplingOptions:
        """How the images of an arm are made; None: of the model before any training."""
        staging = self.staging(arm)
        return SamplingOptions(
            width=self.width,
            height=self.height,
            steps=self.sampling_steps,
            guidance=self.guidance,
            stages=staging.stages,
            stage_options=staging.stage_options,
        )

    @model_validator(mode="after")
    def _fits(self) -> "AblationRecipe":
        named = [("baseline", self.baseline)]
        named += [("equal", name) for pair in self.equal for name in pair]
        for key, name in named:
            if name not in self.arms:
                raise PydanticCustomError(
                    "arm",
                    "{key}: found {name}, allowed one of the arms: {arms}",
                    {"key": key, "name": name, "arms": ", ".join(self.arms)},
                )
        if same := next((first for first, second in self.equal if first == second), None):
            raise PydanticCustomError(
                "equal", "equal: found {name} twice, allowed two different arms", {"name": same}
            )
        small = [name.casefold() for name in self.arms]
        if again := next((name for name in small if small.count(name) > 1), None):
            raise PydanticCustomError(
                "arms",
                "arms: {name} is given twice as the name of a folder: choose another name",
                {"name": again},
            )
        for key in ("seeds", "sample_seeds"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise PydanticCustomError("seeds", "{key}: one is given twice", {"key": key})
        if list(self.steps) != sorted(set(self.steps)):
            raise PydanticCustomError(
                "steps",
                "steps: found {found}, allowed increasing numbers",
                {"found": list(self.steps)},
            )
        return self


def load_study(path: Path, overrides: list[str] | None = None) -> AblationRecipe:
    """Read and check a study.

    Raises:
        UsageError: one line that names every problem.
    """
    return read_config(path, overrides, AblationRecipe)
