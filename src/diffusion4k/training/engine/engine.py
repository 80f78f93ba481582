"""The processes of a run, and how the network is spread over them.

    single      one process, which holds everything
    ddp         each holds everything; gradients are averaged (Li et al., arXiv:2006.15704)
    fsdp2       each holds a share of each weight, gradient and moment; a block is gathered while it
                computes (ZeRO-3; Zhao et al., arXiv:2304.11277); also one process that offloads
    deepspeed   each holds all weights and a share of gradients and moments (ZeRO-2; see `zero`)

Accelerate knows the processes and their devices, however they were launched; the networks are
spread by torch or DeepSpeed, on GPUs (NCCL) and on CPUs (gloo) alike.
"""

import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from diffusion4k.training.engine.context_parallel import check_processes, divide_context
from diffusion4k.training.engine.zero import ZeroOptimizer

__all__ = ["Engine", "blocks_of"]

_EVERYWHERE = "cpu:gloo,cuda:nccl"


Network = TypeVar("Network", bound=nn.Module)


class Engine:
    """The processes and what they do together.

    Attributes:
        name: `single`, `ddp`, `fsdp2` or `deepspeed`.
        accelerator: Accelerate's view of the processes.
        rank, world: number of this process, and of all.
        data_rank, data_world: the same of processes that work on different pictures.
        device: of this process.
    """

    def __init__(self, wanted: str = "auto", *, offload: bool = False, context: int = 1) -> None:
        """`wanted`: `auto` is `fsdp2` where there are several processes or `offload`.

        `offload`: with it, shares of weights, gradients and moments stand in the CPU's memory,
        where the optimizer takes its step, and come to the GPU block by block; with `deepspeed`
        those of gradients and moments. One process can do it, too. `context` processes work on the
        same pictures (see `context_parallel`).

        Raises:
            UsageError: `context` does not divide the number of processes.
        """
        self._offload, has_gpu = offload, _has_gpu()
        # The others wait while the first process fills the cache or makes validation images.
        # Sums of what is offloaded go over gloo. Accelerate takes a process to which a backend is
        # given for one of several, which is so only where a launcher started it.
        launched = "LOCAL_RANK" in os.environ
        backend = {"backend": _EVERYWHERE} if offload and has_gpu and launched else {}
        patience = InitProcessGroupKwargs(timeout=timedelta(days=1), **backend)
        self.accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[patience])
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.device = self.accelerator.device
        check_processes(context, self.world)
        self.context = context
        self.data_rank, self.data_world = self.rank // context, self.world // context
        several = "fsdp2" if wanted == "auto" else wanted
        alone = several == "deepspeed" or (several == "fsdp2" and offload)
        self.name = several if self.world > 1 or alone else "single"
        self._zero: ZeroOptimizer | None = None
        if self.name in ("deepspeed", "fsdp2") and not dist.is_initialized():
            backend_of_one = _EVERYWHERE if has_gpu else "gloo"
            dist.init_process_group(backend_of_one, store=dist.HashStore(), rank=0, world_size=1)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.rank == 0

    @property
    def is_sharded(self) -> bool:
        """Whether a process holds only its share of the weights."""
        return self.name == "fsdp2"

    @property
    def computes_together(self) -> bool:
        """Whether no process can use the network without the others."""
        return self.is_sharded or self.context > 1

    def place(self, load: Callable[[], Network], *, bfloat16: bool = False) -> Network:
        """The network to train, loaded and put where it computes; see `spread`.

        The processes of a machine do it one after the other: its memory needs to hold one whole
        network. With `fsdp2` parameters become `DTensor`s.

        Args:
            bfloat16: computations are in bfloat16, so blocks may travel in it; their shares, and
                the gradients' sum, stay float32.
        """
        # All processes make it together, which they cannot do in turn.
        mesh = init_device_mesh(self.device.type, (self.world,)) if self.is_sharded else None
        with self._in_turn():
            network = load()
            if mesh is None:
                return network.to(self.device)
            dtype = torch.bfloat16 if bfloat16 else None
            # Inputs stay as they are: timesteps up to 1000 and positions need float32, and autocast
            # rounds what is multiplied.
            precision = MixedPrecisionPolicy(
                param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
            )
            offload = CPUOffloadPolicy() if self._offload and _has_gpu() else OffloadPolicy()
            for block in blocks_of(network):
                fully_shard(block, mesh=mesh, mp_policy=precision, offload_policy=offload)
            # Whole only while it computes: the average may take its place between two passes.
            fully_shard(
                network,
                mesh=mesh,
                reshard_after_forward=True,
                mp_policy=precision,
                offload_policy=offload,
            )
            return network

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        turn = self.accelerator.local_process_index
        for number in range(self.highest(turn + 1)):
            if number == turn:
                yield
            self.wait()

    def spread(self, network: nn.Module) -> nn.Module:
        """What is called in place of a network that was placed, by all processes together."""
        if self.context > 1:
            divide_context(network, self.context, self.world, self.device)
        if self.name == "ddp":
            devices = [self.device] if self.device.type == "cuda" else None
            # torch's compiler would cut blocks where buckets of gradients end, which fails inside
            # of checkpointed ones.
            torch._dynamo.config.optimize_ddp = False
            # All processes have loaded the same frozen weights; those of 8 bits cannot be sent.
            frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, frozen)
            return DistributedDataParallel(network, device_ids=devices)
        return network

    def share_out(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer | ZeroOptimizer:
        """The optimizer of a spread network; with `deepspeed` one of this process's share."""
        if self.name != "deepspeed":
            return optimizer
        self._zero = ZeroOptimizer(optimizer, offload=self._offload, device=self.device)
        return self._zero

    def local_gradients(self, network: nn.Module) -> AbstractContextManager[None]:
        """Keep gradients in the process within the block: the last micro-batch exchanges them.

        With `fsdp2` and `deepspeed` they travel with each, as a process has no room for those of
        all weights.
        """
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add a loss's gradients to those of the step, of which it may be the `last`."""
        if self._zero:
            self._zero.backward(loss, last=last)
        else:
            loss.backward()

    def clip(self, parameters: Iterable[nn.Parameter], norm: float | None) -> float:
        """Scale the gradients down to the norm (if one is given); what it was before."""
        if self._zero:
            return self._zero.clip(norm)
        total = nn.utils.clip_grad_norm_(parameters, math.inf if norm is None else norm)
        return (total.full_tensor() if isinstance(total, DTensor) else total).item()

    def sums(self, values: Tensor) -> list[float]:
        """Sums over the processes of each of several values `(N,)`: all get the same."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values.tolist()

    def mean(self, tensor: Tensor) -> Tensor:
        """Its mean over the processes, of any shape: all get the same."""
        if self.world == 1:
            return tensor
        whole = tensor.clone()
        dist.all_reduce(whole)
        return whole / self.world

    def clip_mean(self, parameters: Iterable[nn.Parameter], norm: float | None) -> float:
        """As `clip`, of a network that is not spread: its gradients become their mean first."""
        parameters = list(parameters)
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.world > 1:
            flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
            parts = flat.split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        return self.clip(parameters, norm)

    def highest(self, number: int) -> int:
        """The highest that a process gave: all hear the same."""
        if self.world == 1:
            return number
        heard = torch.tensor([number], device=self.device)
        dist.all_reduce(heard, dist.ReduceOp.MAX)
        return int(heard)

    def say(self, text: str) -> None:
        """A line on standard error, of the first process alone."""
        if self.is_main:
            print(text, file=sys.stderr, flush=True)

    def wait(self) -> None:
        """Until all processes are here."""
        self.accelerator.wait_for_everyone()

    def whole_state(self, network: nn.Module) -> dict[str, Tensor]:
        """State of a spread network, its tensors whole and in memory; empty but in process 0."""
        return self.whole(network.state_dict())

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors whole and in memory; empty but in process 0."""
        state: dict[str, Tensor] = {}
        for name, value in tensors.items():
            value = value.detach()
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            if self.is_main:
                state[name] = whole.cpu()
        return state


def _has_gpu() -> bool:
    return torch.cuda.is_available()


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The transformer's repeated blocks, each of which is gathered on its own."""
    names: Collection[str] = (
        getattr(network, "_repeated_blocks", None)
        or getattr(network, "_no_split_modules", None)
        or ()
    )
    # A block that was shared out has a class of its own, made of the block's.
    return [
        module
        for module in network.modules()
        if any(kind.__name__ in names for kind in type(module).__mro__)
    ]
