"""DeepSpeed's ZeRO-2: the run of one plain process, and checkpoints that all engines read."""

import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from diffusion4k.errors import UsageError
from diffusion4k.training.check import check_recipe
from diffusion4k.training.checkpoint.sharded import whole_tensors
from diffusion4k.training.engine.zero import _Slice
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.curve import Curve
from tests.training.process import join, said, start_many

Make = Callable[..., Recipe]
Run = Callable[..., Path]
WEIGHTS = "model/transformer/diffusion_pytorch_model.safetensors"
RATE = {"optimizer": {"learning_rate": 1e-4}}


@pytest.fixture
def run(recipe: Make, tmp_path: Path) -> Run:
    """`run(engine, processes, **keys)` to its end with four pictures a step; the output folder."""
    numbers = count()

    def go(engine: str, processes: int, **keys: object) -> Path:
        own = {"batch_size": 4 // processes, "output": str(tmp_path / f"run{next(numbers)}")}
        wanted = recipe(**{"engine": engine, "ema": 0.9, **RATE, **own, **keys})
        assert not any(join(start_many(wanted, processes))), said(wanted)
        for word in ("deepspeed", "warning", "[info]"):
            assert word not in said(wanted).lower(), said(wanted)
        return wanted.output

    return go


def _column(output: Path, name: str = "loss") -> torch.Tensor:
    rows = Curve.read(output / "loss.csv")
    return torch.tensor([float(row[name]) for row in rows]).double()


@given(
    counts=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    processes=st.integers(1, 5),
    spare=st.integers(0, 9),
)
def test_places_of_parameters(counts: list[int], processes: int, spare: int) -> None:
    """Against every number's own home: all are somewhere once, in their order."""
    size = -(-(sum(counts) + spare) // processes)
    homes = [divmod(number, size) for number in range(sum(counts))]
    start = 0
    for length in counts:
        places = [_Slice.of(start, length, size=size, rank=rank) for rank in range(processes)]
        found = [
            (rank, position)
            for rank, place in enumerate(places)
            for position in range(size)[place.piece]
        ]
        assert found == homes[start : start + length]
        assert [n for place in places for n in range(length)[place.own]] == list(range(length))
        begins = [rank for rank, place in enumerate(places) if place.begins]
        assert begins == [homes[start][0]]
        assert {place.crosses for place in places} == {len({rank for rank, _ in found}) > 1}
        start += length


@pytest.mark.parametrize(
    "ways",
    [
        [(2, True), (1, False)],
        pytest.param([(1, True), (2, False), (4, True)], marks=pytest.mark.slow),
    ],
)
def test_the_run_of_one_process(run: Run, ways: list[tuple[int, bool]]) -> None:
    """Gradients accumulated and clipped; steps of a high loss skipped and forgotten."""
    keys = {
        "steps": 16,
        "clip_norm": 0.01,
        "guard": {"spike": 1.001, "window": 10, "patience": 100},
    }
    alone = run("auto", 1, **keys)
    assert " skipped: loss" in alone.with_suffix(".txt").read_text()
    assert (_column(alone, "gradient_norm") > 0.01).all()
    for processes, offload in ways:
        # Of the four pictures of a step, each process takes one at a time.
        parts = {"batch_size": 1, "gradient_accumulation": 4 // processes, "offload": offload}
        shared = run("deepspeed", processes, **keys, **parts)
        for name in ("loss", "gradient_norm"):
            one, other = (_column(each, name) for each in (alone, shared))
            torch.testing.assert_close(other, one, rtol=1e-5, atol=0)


def test_it_goes_on_to_the_bit(run: Run, tmp_path: Path) -> None:
    """Stopped half-way and started again with three processes, borders inside of weights."""
    keys = {"batch_size": 1, "offload": True}
    whole = run("deepspeed", 3, steps=4, **keys)
    for steps in (2, 4):
        parts = run("deepspeed", 3, steps=steps, **keys, output=str(tmp_path / "parts"))
    assert (whole / "loss.csv").read_bytes() == (parts / "loss.csv").read_bytes()
    last = parts / "checkpoints/step-000004"
    one, other = whole_tensors(whole / "checkpoints/step-000004"), whole_tensors(last)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    exported = load_file(parts / WEIGHTS)
    assert torch.equal(exported["proj_out.weight"], one["average/proj_out.weight"])
    # Each process has written the moments of its share.
    shares = [
        {name for name in load_file(file) if name.startswith("optimizer/exp_avg/")}
        for file in sorted(last.glob("*.safetensors"))
    ]
    assert len(shares) == 3 and all(shares)
    trained = [name for name in one if name.startswith("weights/")]
    assert sum(map(len, shares)) == len(set.union(*shares)) == len(trained)


@pytest.mark.parametrize(
    "turns",
    [
        [("fsdp2", 2), ("deepspeed", 2), ("auto", 1)],
        pytest.param(
            [
                *(("deepspeed", 4), ("fsdp2", 2), ("deepspeed", 1), ("auto", 1), ("deepspeed", 2)),
                *(("ddp", 4), ("deepspeed", 4), ("fsdp2", 4)),
            ],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_engines_take_over_from_one_another(
    run: Run, tmp_path: Path, turns: list[tuple[str, int]]
) -> None:
    """Each reads what the one before wrote, and writes the same tensors."""
    path, written = tmp_path / "run", []
    for steps, (engine, processes) in enumerate(turns, 1):
        run(engine, processes, steps=steps, output=str(path), checkpoint={"every": 1})
        checkpoint = path / f"checkpoints/step-{steps:06}"
        assert all(file.suffix in (".safetensors", ".json") for file in checkpoint.iterdir())
        written.append({n: value.shape for n, value in whole_tensors(checkpoint).items()})
    assert all(one == written[0] for one in written)
    alone = run("auto", 1, steps=len(turns))
    torch.testing.assert_close(_column(path), _column(alone), rtol=1e-5, atol=0)


def test_what_it_cannot_do_is_refused(
    recipe: Make, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusion4k.families.sd3 import StableDiffusion3

    def check(**keys: object) -> None:
        check_recipe(recipe(engine="deepspeed", **keys), StableDiffusion3(), tiny_model)

    check(offload=True)
    for name in ("muon", "adafactor"):
        with pytest.raises(UsageError, match=f"optimizer.name: found {name} with engine=deepspeed"):
            check(optimizer={"name": name, "learning_rate": 1e-4})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="`pip install deepspeed`"):
        check()


_ALONE = """
import logging, math, os, torch, torch.distributed as dist
from diffusion4k.training.engine.zero import ZeroOptimizer

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
for offload in (True, False):
    torch.manual_seed(0)
    one, other = (torch.nn.Parameter(torch.arange(6.0).view(2, 3)) for _ in "12")
    torchs = torch.optim.AdamW([one], lr=0.1)
    theirs = torch.optim.AdamW([other], lr=0.1)
    before, handlers = dict(os.environ), list(logging.getLogger().handlers)
    theirs = ZeroOptimizer(theirs, offload=offload, device=torch.device("cpu"))
    assert dict(os.environ) == before and logging.getLogger().handlers == handlers
    for step in range(4):
        direction = torch.randn(2, 3)
        if step == 2:  # What is not finite is told, and leaves nothing behind.
            theirs.backward((other * math.nan).sum(), last=True)
            assert not math.isfinite(theirs.clip(1.0))
            theirs.zero_grad()
        (one * direction).sum().backward()
        theirs.backward((other * direction / 3).sum(), last=False)
        theirs.backward((other * direction * 2 / 3).sum(), last=True)
        norm = torch.nn.utils.clip_grad_norm_([one], 1.0).item()
        assert math.isclose(theirs.clip(1.0), norm, rel_tol=1e-6)
        for optimizer in (torchs, theirs):
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(one, other, rtol=1e-6, atol=0)
    kept = theirs.state[other]
    assert kept.keys() == torchs.state[one].keys()
    for key, value in torchs.state[one].items():
        torch.testing.assert_close(kept[key], value, rtol=1e-5, atol=0)
"""


def test_steps_are_torchs_and_nothing_is_left_or_said() -> None:
    run = subprocess.run([sys.executable, "-c", _ALONE], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", ""), run.stderr
