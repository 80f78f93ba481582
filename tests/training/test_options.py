"""Optimizers, recomputation, compilation, float8: against torch, or refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.tiny import tiny_transformer
from diffusion4k.errors import UsageError
from diffusion4k.training.check import check_recipe
from diffusion4k.training.checkpoint.sharded import whole_tensors
from diffusion4k.training.engine.engine import blocks_of
from diffusion4k.training.engine.float8 import converted_layers
from diffusion4k.training.engine.optimizers import Muon, make_optimizer, orthogonal, state_share
from diffusion4k.training.engine.recompute import recompute
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import OptimizerRecipe, Recipe
from diffusion4k.training.watch.curve import Curve
from tests.training.process import join, said, start_many

Make = Callable[..., Recipe]


def test_orthogonal_is_u_v_of_the_singular_values() -> None:
    torch.manual_seed(0)
    for shape in ((8, 8), (5, 20), (30, 6)):
        matrix = torch.randn(shape, dtype=torch.float64)
        u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
        found = orthogonal(matrix)
        # The iterations keep the singular vectors, and bring the values near one.
        values = torch.diag(u.T @ found @ vt.T)
        torch.testing.assert_close(found, u @ torch.diag(values) @ vt, rtol=1e-6, atol=1e-9)
        assert values.min() > 0.6 and values.max() < 1.25


def test_muon_is_torch_s(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(6, 10)) for _ in range(2))
    keys = {"lr": 1e-2, "weight_decay": 0.1}
    own = Muon([{"params": [ours], "matrices": True}], **keys)
    # Of bfloat16 in the iterations; its momentum is an average, which orthogonality does not see.
    stock = torch.optim.Muon([theirs], **keys, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn(6, 10)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        own.step()
        stock.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-3)
    assert (ours - 1).abs().max() > 1e-2


def test_what_is_no_matrix_of_a_block_is_adamw_s() -> None:
    torch.manual_seed(0)
    module = tiny_transformer()
    other = tiny_transformer()
    other.load_state_dict(module.state_dict())
    wanted = OptimizerRecipe(name="muon", learning_rate=1e-3)
    own = make_optimizer(wanted, module)
    stock = make_optimizer(OptimizerRecipe(learning_rate=1e-3), other)
    assert {len(group["params"]) > 0 for group in own.param_groups} == {True}
    for _ in range(3):
        for one, two in zip(module.parameters(), other.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            two.grad = one.grad.clone()
        own.step()
        stock.step()
    matrices = {p for block in blocks_of(module) for p in block.parameters() if p.dim() == 2}
    for one, two in zip(module.parameters(), other.parameters(), strict=True):
        if one in matrices:
            assert not torch.equal(one, two)
        else:
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["adafactor", "muon"])
def test_other_optimizers_resume_to_the_bit_and_lower_the_loss(
    recipe: Make, tmp_path: Path, name: str
) -> None:
    keys = {
        "optimizer": {"name": name, "learning_rate": 1e-3},
        "validation": {"every": 6, "samples": 4},
    }
    whole = train(recipe(**keys, output=str(tmp_path / "whole"))).parent
    train(recipe(**keys, steps=3))
    resumed = train(recipe(**keys)).parent
    last = "checkpoints/step-000006"
    first, second = whole_tensors(whole / last), whole_tensors(resumed / last)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    before, after = (float(row["loss"]) for row in Curve.read(whole / "validation.csv"))
    assert after < before
    kept = sum(v.numel() for k, v in first.items() if k.startswith("optimizer/"))
    weights = sum(v.numel() for k, v in first.items() if k.startswith("weights/"))
    # The tiny model has many small weights, of which a row and a column are much.
    assert kept < 1.7 * weights and state_share(name) < state_share("adamw")


@pytest.mark.parametrize("name", ["adafactor", pytest.param("muon", marks=pytest.mark.slow)])
def test_other_optimizers_in_several_processes(recipe: Make, tmp_path: Path, name: str) -> None:
    losses = []
    for processes in (1, 2):
        wanted = recipe(
            steps=4,
            batch_size=4 // processes,
            optimizer={"name": name, "learning_rate": 1e-4},
            output=str(tmp_path / f"run{len(losses)}"),
        )
        assert not any(join(start_many(wanted, processes))), said(wanted)
        rows = Curve.read(wanted.output / "loss.csv")
        losses.append(torch.tensor([float(row["loss"]) for row in rows]))
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)


def _gradients(kind: Any) -> tuple[list[torch.Tensor], int]:
    """Of a small transformer, and how many of its blocks ran twice."""
    torch.manual_seed(0)
    module = tiny_transformer().train()
    blocks = blocks_of(module)
    assert len(blocks) == 2
    runs: list[int] = []
    for number, block in enumerate(blocks):
        block.norm1.register_forward_hook(lambda *_, number=number: runs.append(number))
    if kind:
        module.enable_gradient_checkpointing(recompute(kind, blocks))
    torch.manual_seed(1)
    output = module(
        hidden_states=torch.randn(2, 16, 8, 8),
        timestep=torch.tensor([100.0, 500.0]),
        encoder_hidden_states=torch.randn(2, 5, 64),
        pooled_projections=torch.randn(2, 32),
    ).sample
    output.square().mean().backward()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    return gradients, len(runs) - len(blocks)


@pytest.mark.parametrize(("kind", "again"), [(True, 2), (2, 1), (3, 1), ("selective", 2)])
def test_recomputing_changes_no_gradient(kind: Any, again: int) -> None:
    expected, _ = _gradients(False)
    gradients, twice = _gradients(kind)
    assert twice == again
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_selective_keeps_what_is_dear(recipe: Make) -> None:
    """It computes less again than all, and keeps less than nothing computed again."""
    from torch.utils.flop_counter import FlopCounterMode

    flops = {}
    for kind in (False, "selective", True):
        with FlopCounterMode(display=False) as counter:
            _gradients(kind)
        flops[kind] = counter.get_total_flops()
    assert flops[False] < flops["selective"] < flops[True]


def test_recipes_take_them(recipe: Make) -> None:
    losses = [
        (train(recipe(gradient_checkpointing=kind, output=f"{recipe().output}-{kind}", steps=2)))
        for kind in (False, "selective", 2)
    ]
    curves = [
        [float(row["loss"]) for row in Curve.read(folder.parent / "loss.csv")] for folder in losses
    ]
    assert curves[1] == pytest.approx(curves[0]) and curves[2] == pytest.approx(curves[0])


@pytest.mark.slow
def test_a_compiled_run_is_the_same(recipe: Make, tmp_path: Path) -> None:
    for compiled in (False, True):
        wanted = recipe(
            compile=compiled,
            steps=3,
            optimizer={"learning_rate": 1e-4},
            output=str(tmp_path / str(compiled)),
        )
        train(wanted)
    first, second = (
        [float(row["loss"]) for row in Curve.read(tmp_path / name / "loss.csv")]
        for name in ("False", "True")
    )
    assert second == pytest.approx(first, rel=1e-4)
    names = whole_tensors(tmp_path / "True" / "checkpoints" / "step-000003")
    assert not any("_orig_mod" in name for name in names)


def test_what_this_machine_cannot_do_is_refused(recipe: Make, tiny_model: Path) -> None:
    from diffusion4k.families.sd3 import StableDiffusion3

    for keys, told in (
        ({"precision": "fp8"}, "precision: found fp8, which needs"),
        ({"optimizer": {"name": "adamw8bit"}}, "optimizer.name: found adamw8bit, which needs"),
        ({"offload": True, "engine": "ddp"}, "offload: found true, allowed with engine=fsdp2"),
    ):
        with pytest.raises(UsageError, match=told):
            check_recipe(recipe(**keys), StableDiffusion3(), tiny_model)


def test_float8_is_for_the_large_matrices_of_blocks() -> None:
    class Block(nn.ModuleDict):
        pass

    class Network(nn.ModuleDict):
        _no_split_modules = ("Block",)

    block = {"fits": nn.Linear(64, 32), "fits_not": nn.Linear(64, 20), "other": nn.LayerNorm(64)}
    modulation = {"norm1": nn.ModuleDict({"linear": nn.Linear(64, 384)})}
    network = Network({"proj_in": nn.Linear(64, 64), "blocks": Block(block | modulation)})
    assert list(converted_layers(network)) == ["blocks.fits"]
