"""One process, several with all weights, several with shares: the same run."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffusion4k.errors import UsageError
from diffusion4k.training.checkpoint.resume import resume_point
from diffusion4k.training.checkpoint.sharded import whole_tensors
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.curve import Curve
from tests.training.process import join, said, start_many

Make = Callable[..., Recipe]
Run = Callable[..., Path]
WEIGHTS = "model/transformer/diffusion_pytorch_model.safetensors"
KEYS = {"ema": 0.9, "validation": {"every": 5, "samples": 4}, "checkpoint": {"every": 1000}}
GLOBAL_BATCH = 4


@pytest.fixture
def run(recipe: Make, tmp_path: Path) -> Run:
    """`run(engine, processes, **keys)` to its end; the output folder."""
    numbers: Iterator[int] = count()

    def go(engine: str, processes: int, **keys: object) -> Path:
        wanted = recipe(
            **{
                "engine": engine,
                "batch_size": GLOBAL_BATCH // processes,
                "output": str(tmp_path / f"run{next(numbers)}"),
                **KEYS,
                **keys,
            }
        )
        assert not any(join(start_many(wanted, processes))), said(wanted)
        return wanted.output

    return go


def _losses(output: Path, curve: str = "loss.csv") -> torch.Tensor:
    return torch.tensor([float(row["loss"]) for row in Curve.read(output / curve)]).double()


@pytest.mark.parametrize(
    ("steps", "counts"), [(5, (2,)), pytest.param(50, (2, 4), marks=pytest.mark.slow)]
)
def test_engines_agree(run: Run, steps: int, counts: tuple[int, ...]) -> None:
    # The usual rate of a fine-tuning, a hundredfold: Adam's first steps are the gradients' signs,
    # and a weight that gets none but rounding noise goes another way in each engine.
    keys = {"steps": steps, "optimizer": {"learning_rate": 1e-4}}
    alone = run("auto", 1, **keys)
    for engine in ("ddp", "fsdp2", "deepspeed"):
        for processes in counts:
            shared = run(engine, processes, **keys)
            for curve in ("loss.csv", "validation.csv"):
                torch.testing.assert_close(
                    _losses(shared, curve), _losses(alone, curve), rtol=1e-5, atol=0
                )
            assert len(_losses(shared)) == steps


def test_several_processes_are_sharded_by_default(run: Run) -> None:
    output = run("auto", 2, steps=1)
    files = sorted(path.name for path in (output / "checkpoints/step-000001").iterdir())
    assert files == [
        "shard-00001-model-00001-of-00001.safetensors",
        "shard-00002-model-00001-of-00001.safetensors",
        "state.json",
    ]
    first, second = (
        load_file(output / "checkpoints/step-000001" / name)["weights/proj_out.weight"]
        for name in files[:2]
    )
    assert len(first) == len(second) and first.shape[1:] == second.shape[1:]
    saved = whole_tensors(output / "checkpoints/step-000001")
    assert torch.equal(torch.cat([first, second]), saved["weights/proj_out.weight"])
    exported = load_file(output / WEIGHTS)
    assert torch.equal(exported["proj_out.weight"], saved["average/proj_out.weight"])


def test_another_number_of_processes_goes_on(run: Run, tmp_path: Path) -> None:
    keys = {"output": str(tmp_path / "run"), "batch_size": 3, "gradient_accumulation": 1}
    optimizer = {"learning_rate": 1e-4}
    whole = run("auto", 1, steps=6, batch_size=12, optimizer=optimizer)
    for processes, steps in ((4, 2), (2, 4), (3, 6)):
        batch = 12 // processes
        run("fsdp2", processes, **(keys | {"batch_size": batch}), steps=steps, optimizer=optimizer)
    resharded = tmp_path / "run"
    assert len(_losses(resharded)) == 6
    torch.testing.assert_close(_losses(resharded), _losses(whole), rtol=1e-5, atol=0)
    last = [_losses(output, "validation.csv")[-1] for output in (resharded, whole)]
    torch.testing.assert_close(*last, rtol=1e-5, atol=0)


def test_adapters_in_shares(run: Run) -> None:
    keys = {"lora": {"rank": 4}, "steps": 3, "optimizer": {"learning_rate": 1e-4}}
    alone = run("auto", 1, **keys)
    one = load_file(next((alone / "lora").glob("*.safetensors")))
    for engine in ("fsdp2", "deepspeed"):
        shared = run(engine, 2, **keys)
        torch.testing.assert_close(_losses(shared), _losses(alone), rtol=1e-5, atol=0)
        other = load_file(next((shared / "lora").glob("*.safetensors")))
        assert one.keys() == other.keys()
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=1e-2, atol=1e-5)


def test_another_global_batch_is_refused(run: Run, recipe: Make, tmp_path: Path) -> None:
    output = run("auto", 1, steps=1)
    wanted = {**KEYS, "output": str(output), "steps": 2, "gradient_accumulation": 1}
    assert resume_point(recipe(**wanted, batch_size=2), processes=2)[1] == 1
    assert resume_point(recipe(**wanted | {"gradient_accumulation": 4}, batch_size=1), 1)[1] == 1
    with pytest.raises(UsageError, match=r"processes \(1 -> 3, .*4 -> 3\)"):
        resume_point(recipe(**wanted, batch_size=1), processes=3)
