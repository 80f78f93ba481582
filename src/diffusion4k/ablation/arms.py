"""The recipes of all runs, and the proof that they differ in what was asked and nothing else.

Every random number of a run belongs to its seed and to a picture's position in the run: runs of one
seed see the same pictures in the same order, with the same crops, noise and start, whatever the
objective.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pydantic import ValidationError

from diffusion4k.ablation.recipe import AblationRecipe, GivenRecipe, Staging
from diffusion4k.config.problems import describe_problems
from diffusion4k.errors import UsageError
from diffusion4k.training.recipe.recipe import Recipe, ValidationRecipe, load_recipe

__all__ = ["VARIED", "Run", "base_recipe", "runs_of"]

VARIED = ("objective", "timesteps")
"""All in which the training of arms may differ."""

_OURS = ("output", "steps", "seed", "validation")
"""Keys that are the study's."""


@dataclass(frozen=True)
class Run:
    """One arm with one seed."""

    arm: str
    seed: int
    folder: Path
    recipe: Recipe
    """Trains from the study's one cache into `folder/training`."""

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        return f"{self.arm}, seed {self.seed}"

    def until(self, steps: int) -> Recipe:
        """The recipe that ends after so many steps."""
        return self.recipe.model_copy(update={"steps": steps})


def base_recipe(study: AblationRecipe) -> Recipe:
    """The recipe of all arms, with the study's cache: `recipe.cache`, or a folder of the output.

    Raises:
        UsageError: a key that is wrong, of the study, or that a study cannot have.
    """
    recipe = _checked("recipe", study.recipe, study)
    if recipe.uncached:
        raise UsageError("recipe.uncached: found true, allowed false: arms share one cache")
    if recipe.schedule.name == "cosine" and len(study.steps) > 1:
        raise UsageError(
            f"steps: found {len(study.steps)} numbers with recipe.schedule.name=cosine, whose "
            "learning rate depends on where a run ends: give only one, or schedule.name=constant"
        )
    if study.equal and recipe.precision != "fp32":
        raise UsageError(
            f"recipe.precision: found {recipe.precision}, allowed fp32 with `equal`: in fewer bits "
            "equal objectives drift apart"
        )
    return recipe.model_copy(
        update={
            "cache": recipe.cache or study.output / "cache",
            "validation": ValidationRecipe(every=None, samples=0),
        }
    )


def runs_of(study: AblationRecipe) -> list[Run]:
    """All runs, one seed after the other, so that a study that is stopped has whole seeds.

    Raises:
        UsageError: see `base_recipe`; an arm that differs in more than objective and timesteps, or
            in nothing from another one.
    """
    base = base_recipe(study)
    changes = {name: _varied(study, name) for name in study.arms}
    images = {name: study.staging(name) for name in study.arms}
    pairs = {frozenset(pair) for pair in study.equal}
    for first, second in combinations(study.arms, 2):
        same = changes[first] == changes[second] and images[first] == images[second]
        if same and {first, second} not in pairs:
            raise UsageError(
                f"arms: {first} and {second} are the same: leave one out, or name both in `equal`"
            )
    runs = []
    for seed in study.seeds:
        for name, change in changes.items():
            folder = study.output / "runs" / name / f"seed-{seed}"
            own = {"seed": seed, "output": folder / "training", "data": None}
            runs.append(Run(name, seed, folder, base.model_copy(update={**change, **own})))
    return runs


def _varied(study: AblationRecipe, name: str) -> dict[str, object]:
    """What an arm changes, after the proof that it is nothing else."""
    from diffusion4k.training.checkpoint.resume import changed_keys

    given, key = study.arms[name], f"arms.{name}"
    base = _checked("recipe", study.recipe, study)
    if isinstance(given, str):
        arm, differing = _checked(key, given, study), []
    else:
        trained = {k: v for k, v in given.items() if k not in Staging.model_fields}
        arm = _checked(key, {**base.model_dump(exclude=set(_OURS)), **trained}, study)
        differing = [f"{each} ({given[each]})" for each in given if each in _OURS]
    differing += [each for each in changed_keys(base, arm) if not each.startswith(VARIED)]
    if differing:
        raise UsageError(
            f"{key}: differs from recipe in {', '.join(differing)}: arms may differ in "
            f"{' and '.join(VARIED)}, and in {' and '.join(Staging.model_fields)} of their images, "
            "only; make another study for that"
        )
    return {each: getattr(arm, each) for each in VARIED}


def _checked(key: str, given: GivenRecipe, study: AblationRecipe) -> Recipe:
    """The recipe with output, steps and seed of the study."""
    ours = {"output": study.output, "steps": study.steps[0], "seed": study.seeds[0]}
    if isinstance(given, str):
        overrides = [f"{each}={ours[each]}" for each in ("steps", "seed")]
        return load_recipe(given, overrides).model_copy(update={"output": study.output})
    if key == "recipe":
        _refuse_ours(given)
    content = {**given, **ours}
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{key}: {describe_problems(error, Recipe, content)}") from None


def _refuse_ours(given: Mapping[str, object]) -> None:
    if found := [each for each in _OURS if each in given]:
        raise UsageError(
            f"recipe.{found[0]}: found {given[found[0]]}, which the study decides: leave it out "
            "here"
        )
