"""Checkpoints that every process writes its share of, beside the training.

    shard-00001-model-00001-of-00001.safetensors   a process's share: `weights/<parameter>`,
                                                   `optimizer/<key>/<parameter>`, `average/...`
    state.json                                     step, recipe, versions, sizes of the files

They are torch's distributed checkpoints (`torch.distributed.checkpoint`) in its safetensors layout,
in which the header of a file says where in the whole tensor each share belongs: any number of
processes reads what any other number wrote. Only what is trained is in them.
"""

import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from diffusion4k.errors import Diffusion4kError
from diffusion4k.training.checkpoint.checkpoint import (
    Retention,
    damaged,
    new_checkpoint,
    temporary_folder,
)
from diffusion4k.training.engine.ema import WeightAverage
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.engine.parameters import trained_parameters
from diffusion4k.training.engine.zero import ZeroOptimizer

__all__ = ["CheckpointWriter", "TrainingState", "whole_tensors"]

# Of one process, which receives it.
warnings.filterwarnings("ignore", "torch.distributed is disabled", module="torch.distributed")


class TrainingState:
    """What a run changes: the trained weights, the optimizer's averages, the weight average."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer | ZeroOptimizer,
        average: WeightAverage | None = None,
    ) -> None:
        self._parameters = trained_parameters(network)
        self._optimizer, self._average = optimizer, average

    @torch.no_grad()
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, in the memory in which they live; shares as `DTensor`.

        Of what DeepSpeed has shared out, what begins in this process (see `ZeroOptimizer.state`).
        """
        return self._named(self._optimizer.state)

    def _named(self, state: Mapping[Tensor, Mapping[str, Tensor | float]]) -> dict[str, Tensor]:
        tensors = {f"weights/{name}": p.data for name, p in self._parameters.items()}
        for name, parameter in self._parameters.items():
            for key, value in state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = _stored(value)
        if self._average:
            tensors |= {f"average/{name}": value for name, value in self._average.weights.items()}
        return tensors

    def load(self, checkpoint: Path, *, alone: bool = True) -> None:
        """Bring all of it to what it was in a checkpoint; `alone`: no other process does the same.

        Raises:
            Diffusion4kError: the checkpoint is damaged, or of another network.
        """
        optimizer = self._optimizer
        if isinstance(optimizer, ZeroOptimizer):
            state = optimizer.state
            _read(checkpoint, self._named(state), alone=alone)
            optimizer.go_on_from(state)
        else:
            self._make_room(optimizer)
            tensors = self.tensors()
            _read(checkpoint, tensors, alone=alone)
            for name, parameter in self._parameters.items():
                kept = optimizer.state.get(parameter, {})
                # What is no tensor was not read in place (the steps of bitsandbytes' optimizers).
                for key, value in kept.items():
                    if not isinstance(value, Tensor):
                        kept[key] = type(value)(tensors[f"optimizer/{key}/{name}"].item())

    @torch.no_grad()
    def _make_room(self, optimizer: torch.optim.Optimizer) -> None:
        # An optimizer makes its averages in its first step: one that changes no weight.
        rates = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = 0.0 * group["lr"]
        for parameter in self._parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


class CheckpointWriter:
    """Writes one checkpoint at a time in the background, `folder/step-<step>`."""

    def __init__(self, folder: Path, engine: Engine, *, keep: Retention) -> None:
        self._folder, self._engine, self._keep = folder, engine, keep
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        # Of their own, as training's messages continue meanwhile; shares are in the CPU's memory.
        self._group = dist.new_group(backend="gloo") if engine.world > 1 else None

    @property
    def has_failed(self) -> bool:
        """Whether the last one could not be written, so that `finish` will raise."""
        pending = self._pending
        return bool(pending and pending.done() and pending.exception())

    def save(self, step: int, state: TrainingState, about: Mapping[str, object]) -> None:
        """Copy the state, and begin to write it; `about` goes to `state.json`.

        Raises:
            Diffusion4kError: the one before could not be written.
        """
        self.finish()
        stack = ExitStack()
        if self._engine.is_main:
            stack.enter_context(
                new_checkpoint(self._folder, step, state=dict(about), keep=self._keep)
            )
        self._engine.wait()
        path = temporary_folder(self._folder, step)
        upload = dcp.async_save(
            state.tensors(),
            storage_writer=HuggingFaceStorageWriter(str(path), save_distributed=True),
            process_group=self._group,
            no_dist=self._group is None,
        )
        self._pending = self._thread.submit(_complete, upload, stack)

    def finish(self) -> None:
        """Until the last one is complete on the disk.

        Raises:
            Diffusion4kError: it could not be written; the one before is still there.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        reason = ""
        try:
            pending.result()
        except (CheckpointException, OSError, SafetensorError, Diffusion4kError) as error:
            reason = _reason(error)
        if self._engine.highest(bool(reason)):
            raise Diffusion4kError(
                f"{self._folder}: a checkpoint cannot be written ({reason or 'another process'}): "
                "free some space and run the same command again"
            )

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=True)


def whole_tensors(checkpoint: Path) -> dict[str, Tensor]:
    """Everything in a checkpoint by name, its shares put together.

    Raises:
        Diffusion4kError: it is damaged.
    """
    try:
        found = HuggingFaceStorageReader(str(checkpoint)).read_metadata().state_dict_metadata
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise damaged(checkpoint, _reason(error), checkpoint=checkpoint) from None
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)  # type: ignore[union-attr]
        for name, entry in found.items()
    }
    _read(checkpoint, tensors, alone=True)
    return tensors


def _stored(value: Tensor | float) -> Tensor:
    """What an optimizer keeps, as a tensor that can be written: a number is a list of one."""
    if not isinstance(value, Tensor):
        return torch.tensor([value], dtype=torch.int64 if type(value) is int else torch.float64)
    return value.view(1) if value.dim() == 0 else value


def _complete(upload: Any, stack: ExitStack) -> None:
    with stack:  # Left by an error, it removes what was written.
        upload.result()


def _read(checkpoint: Path, tensors: dict[str, Tensor], *, alone: bool) -> None:
    try:
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(checkpoint)), no_dist=alone)
    except (CheckpointException, OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise damaged(checkpoint, _reason(error), checkpoint=checkpoint) from None


def _reason(error: BaseException) -> str:
    """One line; of the failures of several processes the first."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    return (str(error).splitlines() or [type(error).__name__])[0]
