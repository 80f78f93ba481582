"""Processes that share a picture's tokens: the same run as one alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffusion4k.errors import UsageError
from diffusion4k.planning.preflight import look_over
from diffusion4k.training.check import check_recipe
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.curve import Curve
from tests.families.test_flux import tiny_flux
from tests.training.process import join, said, start_many

Make = Callable[..., Recipe]


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, object]:
    model = tmp_path / "flux"
    tiny_flux(model)
    return {
        "model": str(model),
        "cache": str(tmp_path / "cache"),
        "steps": 3,
        "optimizer": {"learning_rate": 1e-4},
        "validation": {"every": 3, "samples": 2},
        "ema": 0.5,
    }


@pytest.mark.parametrize(
    ("engine", "processes"),
    [("ddp", 2), ("fsdp2", 2), ("deepspeed", 2), pytest.param("fsdp2", 4, marks=pytest.mark.slow)],
)
def test_the_same_run_as_one_process(
    recipe: Make, tmp_path: Path, keys: dict[str, object], engine: str, processes: int
) -> None:
    losses = []
    for count, context in ((1, 1), (processes, 2)):
        wanted = recipe(
            **keys,
            engine=engine,
            context_parallel=context,
            batch_size=2 // (count // context),
            output=str(tmp_path / f"run{count}"),
        )
        assert not any(join(start_many(wanted, count))), said(wanted)
        rows = [
            float(row["loss"])
            for curve in ("loss.csv", "validation.csv")
            for row in Curve.read(wanted.output / curve)
        ]
        losses.append(torch.tensor(rows))
    assert len(losses[0]) == 5
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)


def test_what_cannot_be_divided_is_refused(recipe: Make, keys: dict[str, object]) -> None:
    from diffusion4k.families import family_of, resolve

    for changes, told in (
        ({"context_parallel": 2}, "allowed 1 with SD3Transformer2DModel"),
        (keys | {"context_parallel": 3}, "does not divide the . heads of Flux"),
    ):
        wanted = recipe(**changes)
        model = resolve(wanted.model)
        with pytest.raises(UsageError, match=told):
            check_recipe(wanted, family_of(model), model)
    assert look_over(recipe(**keys, context_parallel=2), world=2).problems == []
    (problem,) = look_over(recipe(**keys, context_parallel=2), world=3).problems
    assert "does not divide 3 processes" in problem
