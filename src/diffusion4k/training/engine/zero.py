"""ZeRO-2 by DeepSpeed: weights whole in each process, gradients and moments in shares.

    weights    | a      | b            | c  | d   |   one after another, whole everywhere
    process    |       0       |       1          |   float32 copy, gradient, moments of its share

A process gets the sum of all processes' gradients of its share, takes the optimizer's step there
and tells the others the new weights (Rajbhandari et al., arXiv:1910.02054). With `offload` shares
are in the CPU's memory, where the step is then taken (Ren et al., arXiv:2101.06840).

DeepSpeed is given the optimizer and the parameters, and never sees the network: what it takes for
the forward pass hands on a loss that is there already, so that all engines compute alike.
"""

import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from diffusion4k.errors import UsageError

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

__all__ = ["BUCKET", "ZeroOptimizer", "check_deepspeed"]

BUCKET = 1 << 26
"""Numbers that travel at once."""


def check_deepspeed() -> None:
    """Refuse a machine without it.

    Raises:
        UsageError: says what to install.
    """
    if importlib.util.find_spec("deepspeed") is None:
        raise UsageError(
            "engine: found deepspeed, which is not installed: `pip install deepspeed`, or choose "
            "engine=fsdp2"
        )


@dataclass(frozen=True)
class _Slice:
    """Where a parameter lies in this process's share."""

    piece: slice
    """The parameter's part of the share, which may be empty."""
    own: slice
    """The same of the parameter, flattened."""
    begins: bool
    crosses: bool
    """Whether other shares have something of it, too."""

    @classmethod
    def of(cls, start: int, count: int, size: int, rank: int) -> "_Slice":
        """Slice of `count` numbers from `start` in process `rank`'s share of `size` numbers."""
        low = rank * size
        first, last = (min(max(edge, low), low + size) for edge in (start, start + count))
        return cls(
            piece=slice(first - low, last - low),
            own=slice(first - start, last - start),
            begins=start // size == rank,
            crosses=start // size != (start + count - 1) // size,
        )


class ZeroOptimizer:
    """Takes an optimizer's place: of each parameter a process has the moments of its share.

    Needs a process group, of one process at least. Gradients come by `backward` and never stand in
    the parameters.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, offload: bool, device: torch.device
    ) -> None:
        (group,) = optimizer.param_groups
        parameters: list[nn.Parameter] = list(group["params"])
        self._offload, self._device = offload, device
        self._deepspeed = _initialize(parameters, optimizer, offload=offload, device=device)
        self._zero = self._deepspeed.optimizer
        # From here on the optimizer has one parameter: this process's share of all.
        (share,) = group["params"]
        _make_room(optimizer, share)
        self._kept: dict[str, Tensor] = optimizer.state[share]
        self._places: dict[nn.Parameter, _Slice] = {}
        start = 0
        for parameter in parameters:
            count = parameter.numel()
            place = _Slice.of(start, count, size=share.numel(), rank=dist.get_rank())
            self._places[parameter] = place
            start += count

    @property
    def param_groups(self) -> list[dict[str, object]]:
        """The optimizer's, for the learning rate."""
        return self._zero.param_groups

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add to the gradients; with the `last` loss of a step they are complete."""
        self._deepspeed.set_gradient_accumulation_boundary(last)
        self._deepspeed.backward(self._deepspeed(loss), scale_wrt_gas=False)

    def clip(self, norm: float | None) -> float:
        """Have `step` scale the gradients down to the norm (if one is given); what it is now."""
        self._zero.clip_grad = 0.0 if norm is None else norm
        return self._zero.scaled_global_norm().item()

    def step(self) -> None:
        """One step of all shares."""
        self._deepspeed.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, also those of a step that was not taken."""
        self._zero.zero_grad(set_to_none)
        self._zero.micro_step_id = -1  # so that the next are not added to those before
        if self._offload:
            self._zero.reset_cpu_buffers()

    @property
    @torch.no_grad()
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """What the optimizer keeps of the parameters that begin in this process's share.

        In the memory in which it lives; that of a parameter in several shares is put together, so
        that all processes have to ask.
        """
        states: dict[Tensor, dict[str, Tensor]] = {}
        for parameter, place in self._places.items():
            kept = {"step": self._kept["step"]}
            for key, flat in self._flat().items():
                piece = flat[place.piece]
                if place.crosses:
                    whole = torch.zeros_like(parameter)
                    whole.view(-1)[place.own] = piece.to(self._device)
                    dist.all_reduce(whole)
                    kept[key] = whole
                elif place.begins:
                    kept[key] = piece.view(parameter.shape)
            if place.begins:
                states[parameter] = kept
        return states

    @torch.no_grad()
    def go_on_from(self, states: dict[Tensor, dict[str, Tensor]]) -> None:
        """Take over what was read into `state` and into the parameters; all processes together."""
        for parameter, place in self._places.items():
            for key, flat in self._flat().items() if place.crosses else ():
                whole = torch.zeros_like(parameter)
                if place.begins:
                    whole.copy_(states[parameter][key])
                dist.all_reduce(whole)
                flat[place.piece] = whole.view(-1)[place.own].to(flat.device)
        # Where no parameter begins, none was read.
        step = self._kept["step"].to(self._device)
        dist.all_reduce(step, dist.ReduceOp.MAX)
        self._kept["step"].copy_(step)
        self._zero.refresh_fp32_params()

    def _flat(self) -> dict[str, Tensor]:
        return {key: value for key, value in self._kept.items() if value.dim()}


class _Done(nn.Module):
    """A forward pass that has been done: the loss is there."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameters)

    def forward(self, loss: Tensor) -> Tensor:
        return loss


def _initialize(
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    offload: bool,
    device: torch.device,
) -> "DeepSpeedEngine":
    """DeepSpeed's engine for an optimizer of these parameters."""
    trained = sum(parameter.numel() for parameter in parameters)
    bucket = min(BUCKET, trained + trained % 2)  # even, as it has to be
    sharing: dict[str, object] = {
        "stage": 2,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if offload:
        sharing["offload_optimizer"] = {"device": "cpu", "pin_memory": device.type == "cuda"}
    config = {
        "train_micro_batch_size_per_gpu": 1,  # asked for, and of no effect: batches are the loop's
        "zero_optimization": sharing,
        # The optimizer is torch's, as with other engines, and nothing is compiled.
        "zero_force_ds_cpu_optimizer": False,
    }
    with _quiet(device):
        import deepspeed

        # No kernels of its own: to look for them runs compilers, and its sums by shared memory
        # wait for ever for a process that has died.
        setattr(deepspeed.ops, "__compatible_ops__", {})  # noqa: B010
        warnings.filterwarnings("ignore", "`torch.distributed.all_gather_into_tensor`")
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        engine, *_ = deepspeed.initialize(
            model=_Done(parameters), optimizer=optimizer, config=config, dist_init_required=False
        )
    return engine


@contextmanager
def _quiet(device: torch.device) -> Iterator[None]:
    """Let DeepSpeed find its device within the block; its variables and output stay in it."""
    before = dict(os.environ)
    os.environ["DS_ACCELERATOR"] = device.type
    os.environ.setdefault("LOCAL_RANK", str(device.index or 0))
    try:
        with redirect_stdout(sys.stderr):  # to which its loggers keep
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@torch.no_grad()
def _make_room(optimizer: torch.optim.Optimizer, share: Tensor) -> None:
    """Have the optimizer make its averages, in a step that changes nothing and does not count."""
    (group,) = optimizer.param_groups
    rate, gradient = group["lr"], share.grad
    group["lr"], share.grad = 0.0, torch.zeros_like(share)
    optimizer.step()
    group["lr"], share.grad = rate, gradient
    optimizer.state[share]["step"].zero_()
