"""Checkpoints: complete or absent, and exact."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.tiny import tiny_transformer
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.folders import atomic_folder
from diffusion4k.training.checkpoint.checkpoint import (
    Retention,
    checkpoints,
    latest_checkpoint,
    load_average,
    load_optimizer,
    new_checkpoint,
    read_state,
    save_optimizer,
    set_aside_damaged,
)
from diffusion4k.training.engine.ema import WeightAverage


def _trained() -> tuple[torch.nn.Module, torch.optim.Optimizer, WeightAverage]:
    torch.manual_seed(0)
    module = tiny_transformer()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    average = WeightAverage(module, 0.9)
    for _ in range(2):
        for parameter in module.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        average.update(module)
    return module, optimizer, average


def _save(folder: Path, step: int, keep: int = 2) -> Path:
    module, optimizer, average = _trained()
    with new_checkpoint(folder, step, state={"recipe": {}}, keep=Retention(keep)) as path:
        save_optimizer(path, optimizer, module)
        save_file(average.weights, path / "ema.safetensors")
    return folder / f"step-{step:06}"


def test_optimizer_and_average_come_back_to_the_bit(tmp_path: Path) -> None:
    _, optimizer, average = _trained()
    path = _save(tmp_path, 7)
    assert read_state(path)["step"] == 7
    fresh = tiny_transformer()
    fresh_optimizer = torch.optim.AdamW(fresh.parameters(), lr=1.0)
    fresh_average = WeightAverage(fresh, 0.9)
    load_optimizer(path, fresh_optimizer, fresh)
    load_average(path, fresh_average)
    saved, loaded = optimizer.state_dict(), fresh_optimizer.state_dict()
    assert saved["param_groups"] == [
        {**g, "betas": tuple(g["betas"])} for g in loaded["param_groups"]
    ]
    for position, state in saved["state"].items():
        for key, value in state.items():
            assert torch.equal(value, loaded["state"][position][key])
    for name, value in average.weights.items():
        assert torch.equal(value, fresh_average.weights[name])


def test_newest_are_kept_and_leftovers_removed(tmp_path: Path) -> None:
    (tmp_path / ".step-000001.part").mkdir()
    (tmp_path / "step-notes").mkdir()
    for step in (999_999, 5, 1_000_000):
        _save(tmp_path, step)
    assert {path.name for path in tmp_path.iterdir()} == {
        "step-999999",
        "step-1000000",
        "step-notes",
    }
    assert latest_checkpoint(tmp_path) == tmp_path / "step-1000000"
    assert latest_checkpoint(tmp_path / "absent") is None


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        (temporary / "new").touch()
        raise RuntimeError
    assert [p.name for p in tmp_path.rglob("*")] == ["model", "old"]
    with atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["model", "new"]


@pytest.mark.parametrize("name", ["optimizer.safetensors", "ema.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "absent"])
def test_damage_is_named(tmp_path: Path, name: str, damage: str) -> None:
    path = _save(tmp_path, 1)
    _damage(path / name, damage)
    module, optimizer, average = _trained()
    with pytest.raises(Diffusion4kError, match=name) as error:
        read_state(path)
        load_optimizer(path, optimizer, module)
        load_average(path, average)
    assert f"delete {path}" in str(error.value)


@pytest.mark.parametrize("name", ["optimizer.safetensors", "ema.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "absent"])
def test_damaged_ones_are_set_aside(tmp_path: Path, name: str, damage: str) -> None:
    for step in (1, 2, 3):
        _save(tmp_path, step, keep=3)
    assert set_aside_damaged(tmp_path) == []
    _damage(tmp_path / "step-000002" / name, damage)
    assert set_aside_damaged(tmp_path) == []
    _damage(tmp_path / "step-000003" / name, damage)
    damaged = [tmp_path / f"damaged-step-00000{step}" for step in (3, 2)]
    assert set_aside_damaged(tmp_path) == damaged and all(path.is_dir() for path in damaged)
    assert latest_checkpoint(tmp_path) == tmp_path / "step-000001"


def test_milestones_stay_beside_the_newest(tmp_path: Path) -> None:
    for step in range(1, 12):
        state: dict[str, object] = {"recipe": {}}
        with new_checkpoint(tmp_path, step, state=state, keep=Retention(2, milestone=4)):
            pass
    assert [path.name for path in checkpoints(tmp_path)] == [
        "step-000004",
        "step-000008",
        "step-000010",
        "step-000011",
    ]


def test_state_is_readable_json(tmp_path: Path) -> None:
    path = _save(tmp_path, 3)
    files = {name: (path / name).stat().st_size for name in FILES}
    assert json.loads((path / "state.json").read_text()) == {
        "step": 3,
        "recipe": {},
        "files": files,
    }


FILES = ("ema.safetensors", "optimizer.safetensors")


def _damage(file: Path, damage: str) -> None:
    if damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.unlink()


@pytest.mark.parametrize(
    "state",
    ["[]", "[" * 100_000, '{"step": -1}', '{"step": "x"}', '{"step": 1' + "0" * 30 + "}", "null"],
    ids=range(6),
)
def test_a_state_that_is_none_is_told_in_one_line(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "step-000001"
    folder.mkdir()
    (folder / "state.json").write_text(state)
    with pytest.raises(Diffusion4kError, match=r"state\.json") as error:
        read_state(folder)
    assert "\n" not in str(error.value)
    assert set_aside_damaged(tmp_path) == [folder.with_name("damaged-step-000001")]
