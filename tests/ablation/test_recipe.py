"""Studies that cannot be meant are refused in one line; runs differ in what was asked alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from diffusion4k.ablation.arms import Run, runs_of
from diffusion4k.ablation.recipe import AblationRecipe, load_study
from diffusion4k.ablation.run import check_study
from diffusion4k.errors import UsageError
from diffusion4k.families.stages import StageOptions
from diffusion4k.objectives import FlowMatching
from diffusion4k.timesteps import LogitNormal, Uniform
from tests.ablation.conftest import ARMS

Make = Callable[..., AblationRecipe]
RECIPES = Path(__file__).parents[2] / "recipes"


def test_runs_of_one_seed_differ_in_objective_and_timesteps_alone(study: Make) -> None:
    arms = {"plain": ARMS["plain"], "uniform": {"timesteps": {"distribution": "uniform"}}}
    runs = runs_of(study(arms=arms, seeds=[3, 5], recipe=ARMS["plain"]))
    assert [(run.arm, run.seed) for run in runs] == [
        ("plain", 3),
        ("uniform", 3),
        ("plain", 5),
        ("uniform", 5),
    ]
    own = {"objective", "timesteps", "output"}
    dumps = [run.recipe.model_dump(exclude=own) for run in runs]
    assert dumps[0] == dumps[1] and dumps[2] == dumps[3] == dumps[0] | {"seed": 5}
    assert isinstance(runs[0].recipe.timesteps.build("timesteps"), LogitNormal)
    assert isinstance(runs[1].recipe.timesteps.build("timesteps"), Uniform)
    assert {type(run.recipe.objective.build("objective")) for run in runs} == {FlowMatching}
    assert len({run.recipe.cache for run in runs}) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch_size": 1}, r"batch_size \(2 -> 1\)"),
        ({"cache": "elsewhere"}, r"cache \(None -> elsewhere\)"),
        ({"crop": 32, "resolution": 128}, r"crop .*, resolution \(256 -> 128\)"),
        ({"optimizer": {"learning_rate": 0.01}}, r"optimizer.learning_rate \(0.001 -> 0.01\)"),
        ({"steps": 500}, r"steps \(500\)"),
        ({"seed": 7}, r"seed \(7\)"),
    ],
)
def test_arms_that_differ_in_more_are_refused_by_name(
    study: Make, change: dict[str, Any], told: str
) -> None:
    arms = {"plain": ARMS["plain"], "other": ARMS["latents"] | change}
    with pytest.raises(UsageError, match=rf"arms.other: differs from recipe in {told}: arms may"):
        runs_of(study(arms=arms))


def test_arms_may_differ_in_how_their_images_are_made(study: Make) -> None:
    """Direct and staged images of one training, on the same prompts and seeds."""
    arms = {
        "direct": {**ARMS["plain"], "stages": []},
        "staged": {**ARMS["plain"], "stages": [128], "stage_options": {"strength": 0.5}},
    }
    made = study(arms=arms, baseline="direct", stage_options={"window": 2})
    runs = runs_of(made)
    own = {"output"}
    assert runs[0].recipe.model_dump(exclude=own) == runs[1].recipe.model_dump(exclude=own)
    assert made.staging("direct").stages == () and made.staging("staged").stages == (128,)
    assert made.staging("staged").stage_options == StageOptions(strength=0.5)
    assert made.staging("direct").stage_options is None
    assert made.staging(None).stage_options == StageOptions(window=2)
    same = {name: {**ARMS["plain"], "stages": []} for name in ("direct", "again")}
    with pytest.raises(UsageError, match="direct and again are the same"):
        runs_of(study(arms=same, baseline="direct"))
    wrong = {"direct": {**ARMS["plain"], "stages": [64, -1]}, "plain": ARMS["plain"]}
    with pytest.raises(UsageError, match=r"arms.direct: stages"):
        runs_of(study(arms=wrong, baseline="plain"))


def test_an_arm_may_be_a_recipe_of_its_own(study: Make, tmp_path: Path) -> None:
    content = study().recipe
    assert isinstance(content, dict)
    path = tmp_path / "own.yaml"
    own = {**content, "output": "runs/own", "steps": 900, **ARMS["latents"]}
    path.write_text(yaml.safe_dump(own))
    arms = {"plain": ARMS["plain"], "own": str(path)}
    other: Run = runs_of(study(arms=arms))[1]
    assert other.recipe.objective.name == "wavelet-flow" and other.until(3).steps == 3
    path.write_text(yaml.safe_dump(own | {"batch_size": 4}))
    with pytest.raises(UsageError, match=r"arms.own: .* batch_size \(2 -> 4\)"):
        runs_of(study(arms=arms))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"recipe": {"steps": 5}}, r"recipe.steps: found 5, which the study decides"),
        ({"recipe": {"uncached": True}}, r"recipe.uncached: found true, allowed false"),
        ({"recipe": {"bach_size": 5}}, r"recipe: bach_size: unknown key .*batch_size"),
        ({"recipe": {"schedule": {"name": "cosine"}}, "steps": [2, 3]}, r"steps: found 2 numbers"),
        (
            {"recipe": {"precision": "auto"}, "equal": [["plain", "velocity"]]},
            r"recipe.precision: found auto, allowed fp32",
        ),
        ({"arms": {"a": {}, "plain": {}}}, r"arms: a and plain are the same"),
    ],
)
def test_what_cannot_be_meant_is_refused(study: Make, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        runs_of(study(**keys))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("baseline=none", r"baseline: found none, allowed one of the arms: plain, wlf-velocity"),
        ("equal=[[plain, none]]", r"equal: found none, allowed one of the arms"),
        ("equal=[[none, plain]]", r"equal: found none, allowed one of the arms"),
        ("equal=[[plain, plain]]", r"equal: found plain twice, allowed two different arms"),
        ("steps=[3, 2]", r"steps: found \[3, 2\], allowed increasing numbers"),
        ("seeds=[1, 1]", r"seeds: one is given twice"),
        ("seeds=1", r"seeds: found 1, allowed a list"),
        ("arms=1", r"arms: found 1, allowed a section"),
        ("arms={plain: {}}", r"arms: found .*, allowed 2 or more values"),
        ("recipe=5", r"yaml: recipe: found 5, allowed a text, or a section `key: value`$"),
        ("arms.a/b={}", r"arms.a/b: found 'a/b', allowed a name for a folder"),
        ("arm={}", r"arm: unknown key \(did you mean arms\?\)"),
        ("margin=0", r"margin: found 0"),
    ],
)
def test_wrong_files_are_refused(override: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load_study(RECIPES / "pocket-ablation-small.yaml", [override])


@pytest.mark.parametrize(
    ("name", "equal"),
    [("pocket-ablation", 2), ("pocket-ablation-small", 2), ("pocket-ablation-shift", 0)],
)
def test_the_studies_of_the_pocket_model_can_be_meant(name: str, equal: int) -> None:
    study = load_study(RECIPES / f"{name}.yaml")
    assert len(check_study(study)) == len(study.arms) * 3 and len(study.equal) == equal


def test_images_that_another_model_would_make_are_refused() -> None:
    """The pocket model leaves stages up to 1024 pixels to its base."""
    told = "pocket leaves all stages of images of 1024x1024 to pocket-base"
    name, of_pocket = RECIPES / "pocket-ablation-shift.yaml", ["recipe.model=pocket", "stages=null"]
    with pytest.raises(UsageError, match=told):
        check_study(load_study(name, of_pocket))
    with pytest.raises(UsageError, match="leaves all stages of images of 512x1024 to pocket-base"):
        small = ["stages=[512, 1024]", "width=512", "recipe.first_stage=2048"]
        check_study(load_study(name, small))
    check_study(load_study(name, ["recipe.model=pocket", "stages=[]"]))
    check_study(load_study(name, [*of_pocket, "width=4096", "height=4096"]))
