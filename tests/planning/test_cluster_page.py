"""The table of docs/cluster.md is what `diffusion4k plan RECIPE --gpus N` says."""

import re
from pathlib import Path

import pytest

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import described_machine
from diffusion4k.planning.training import plan_training
from diffusion4k.training.recipe.recipe import load_recipe

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| `(recipes/\S+)` \| (\d+) \| ([\d.]+) GiB(: does not fit)? \|")
ROWS = ROW.findall((ROOT / "docs" / "cluster.md").read_text())


@pytest.mark.parametrize(
    ("recipe", "gpus", "told", "fits_not"),
    [
        pytest.param(*row, id=f"{row[0]} {row[1]}", marks=[pytest.mark.slow] * ("flux" in row[0]))
        for row in ROWS
    ],
)
def test_planned_memory(recipe: str, gpus: str, told: str, fits_not: str) -> None:
    wanted = load_recipe(ROOT / recipe)
    blueprint = Blueprint(wanted.model, **wanted.model_options)
    plan = plan_training(blueprint, wanted, described_machine(gpus=int(gpus)))
    assert f"{plan.peak / 2**30:.1f}" == told
    assert ("device" in plan.shortages) == bool(fits_not)


def test_the_page_has_such_rows() -> None:
    assert {(row[0].rpartition("/")[2], row[1]) for row in ROWS} >= {
        ("sd3-2b-wlf.yaml", "2"),
        ("sd3-2b-wlf.yaml", "8"),
        ("flux-12b-wlf.yaml", "2"),
        ("flux-12b-wlf.yaml", "8"),
    }
