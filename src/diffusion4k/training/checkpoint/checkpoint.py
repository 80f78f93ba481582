"""Checkpoints: folders `step-000123` that are either complete or absent.

A folder is written under a temporary name, synced to disk and renamed. Its `state.json` says at
which step of which recipe it was written, and the size of each of its files.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.folders import atomic_folder, discard_folder, temporary_place
from diffusion4k.support.text_files import json_of, shortened
from diffusion4k.training.engine.ema import WeightAverage
from diffusion4k.training.engine.parameters import trained_parameters
from diffusion4k.training.watch.step_guard import GuardState

__all__ = [
    "CheckpointState",
    "NotedInputs",
    "Retention",
    "checkpoints",
    "damaged",
    "latest_checkpoint",
    "load_average",
    "load_optimizer",
    "load_weights",
    "new_checkpoint",
    "read_state",
    "save_optimizer",
    "set_aside_damaged",
    "temporary_folder",
]

_MOST_STEPS = 1 << 40
_NAME = re.compile(r"step-(\d+)")


class NotedInputs(TypedDict, total=False):
    """What a checkpoint notes of the files behind a recipe's paths (see `training.inputs`)."""

    weights: dict[str, str]
    code: dict[str, str]
    data: list[str]
    cache: list[str]


class CheckpointState(TypedDict, total=False):
    """Content of `state.json`; an autoencoder's training has neither guard nor bands."""

    step: int
    processes: int
    recipe: dict[str, object]
    inputs: NotedInputs
    versions: dict[str, str]
    guard: GuardState
    bands: list[float]
    files: dict[str, int]


@dataclass(frozen=True)
class Retention:
    """Which checkpoints stay: the `newest`, and those of steps that `milestone` divides."""

    newest: int
    milestone: int | None = None

    def outdated(self, folder: Path) -> list[Path]:
        """Checkpoints that may be deleted, oldest first."""
        older = checkpoints(folder)[: -self.newest]
        return [
            path for path in older if not (self.milestone and _step(path) % self.milestone == 0)
        ]


@contextmanager
def new_checkpoint(
    folder: Path, step: int, *, state: Mapping[str, object], keep: Retention
) -> Iterator[Path]:
    """Yield a temporary folder; on success it is `folder/step-<step>`, and old ones are deleted."""
    with atomic_folder(_checkpoint(folder, step)) as temporary:
        yield temporary
        files = {
            str(file.relative_to(temporary)): file.stat().st_size
            for file in sorted(temporary.rglob("*"))
            if file.is_file()
        }
        content = json.dumps({"step": step, **state, "files": files}, indent=2) + "\n"
        (temporary / "state.json").write_text(content, encoding="utf-8")
    for old in keep.outdated(folder):
        discard_folder(old)
    for left_by_a_crash in folder.glob(".step-*"):
        shutil.rmtree(left_by_a_crash)


def temporary_folder(folder: Path, step: int) -> Path:
    """Where `new_checkpoint` has a checkpoint written."""
    return temporary_place(_checkpoint(folder, step))


def set_aside_damaged(folder: Path) -> list[Path]:
    """Rename the newest checkpoints with files missing or cut, up to the first sound one.

    They become `damaged-step-<step>`, and are returned. Only what `state.json` lists is looked at,
    and of that the sizes.
    """
    renamed = []
    for checkpoint in reversed(checkpoints(folder)):
        if _is_sound(checkpoint):
            break
        target = checkpoint.with_name(f"damaged-{checkpoint.name}")
        shutil.rmtree(target, ignore_errors=True)
        renamed.append(checkpoint.rename(target))
    return renamed


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step, or None."""
    return next(reversed(checkpoints(folder)), None)


def read_state(checkpoint: Path) -> CheckpointState:
    """Content of `state.json`.

    Raises:
        Diffusion4kError: the file is absent or damaged.
    """
    path = checkpoint / "state.json"
    try:
        state: CheckpointState = json_of(path.read_bytes())
        if not isinstance(state, dict):
            raise ValueError(f"found {shortened(state)}, allowed an object")
        step = state.get("step", 0)
        if type(step) is not int or not 0 <= step < _MOST_STEPS:
            raise ValueError(f"step is {shortened(step)}, allowed a whole number")
        return state
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None


def save_optimizer(
    checkpoint: Path,
    optimizer: torch.optim.Optimizer,
    module: nn.Module,
    name: str = "optimizer.safetensors",
) -> None:
    """Write the state of the optimizer of `module`'s parameters."""
    tensors, groups = _flatten(optimizer, module)
    save_file(tensors, checkpoint / name, {"param_groups": groups})


def load_optimizer(
    checkpoint: Path,
    optimizer: torch.optim.Optimizer,
    module: nn.Module,
    name: str = "optimizer.safetensors",
) -> None:
    """Bring the optimizer of `module`'s parameters to the state it had in the checkpoint."""
    path = checkpoint / name
    names = list(trained_parameters(module))
    try:
        with safe_open(path, framework="pt") as file:
            groups = json_of(file.metadata()["param_groups"])
        state: dict[int, dict[str, Tensor]] = {}
        positions = {parameter: position for position, parameter in enumerate(names)}
        for entry, tensor in load_file(path).items():
            key, _, parameter = entry.partition("/")
            state.setdefault(positions[parameter], {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise damaged(path, error) from None


def load_weights(file: Path, module: nn.Module) -> None:
    """Copy the tensors of a checkpoint's file into `module`, all of them and no others.

    Raises:
        Diffusion4kError: the file is absent, damaged, or of another network.
    """
    try:
        module.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise damaged(file, error) from None


def load_average(checkpoint: Path, average: WeightAverage) -> None:
    """Bring the averaged weights to what they were in the checkpoint."""
    path = checkpoint / "ema.safetensors"
    try:
        average.load(load_file(path))
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise damaged(path, error) from None


def _flatten(optimizer: torch.optim.Optimizer, module: nn.Module) -> tuple[dict[str, Tensor], str]:
    names = list(trained_parameters(module))
    content = optimizer.state_dict()
    tensors = {
        f"{key}/{names[position]}": value
        for position, values in content["state"].items()
        for key, value in values.items()
    }
    return tensors, json.dumps(content["param_groups"])


def _checkpoint(folder: Path, step: int) -> Path:
    return folder / f"step-{step:06}"


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.partition("-")[2])


def _is_sound(checkpoint: Path) -> bool:
    try:
        files = read_state(checkpoint).get("files", {})
        return all((checkpoint / name).stat().st_size == size for name, size in files.items())
    except (OSError, Diffusion4kError, AttributeError, TypeError, ValueError):
        return False


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted((p for p in folder.glob("step-*") if _NAME.fullmatch(p.name)), key=_step)


def damaged(path: Path, reason: object, *, checkpoint: Path | None = None) -> Diffusion4kError:
    """The error of a file of a checkpoint, which by default is the folder that it stands in."""
    return Diffusion4kError(
        f"{path}: damaged checkpoint ({reason}): delete {checkpoint or path.parent} to resume from "
        "the one before"
    )
