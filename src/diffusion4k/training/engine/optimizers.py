"""Optimizers by their names in recipes, what each keeps of a weight, and their learning rate.

| name | kept of a weight | |
|---|---|---|
| `adamw` | two float32 | Loshchilov & Hutter, arXiv:1711.05101 |
| `adamw8bit` | two bytes | Dettmers et al., arXiv:2110.02861; `bitsandbytes`, on a GPU |
| `paged-adamw8bit` | two bytes, in the CPU's memory when the GPU's is short | the same |
| `adafactor` | a row and a column of a matrix | Shazeer & Stern, arXiv:1804.04235; torch's |
| `muon` | one float32 | Jordan et al. 2024; matrices of blocks only, `adamw` for the rest |

The learning rate of a step is a function of the step alone, so there is nothing to save. With base
rate `r`, `S` steps and `W` warm-up steps, step `s = 0, ..., S - 1` has

    s < W      r * (s + 1) / W
    constant   r
    cosine     r / 2 * (1 + cos(pi * (s - W) / (S - W)))
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

from diffusion4k.errors import UsageError
from diffusion4k.training.engine.parameters import local, trained_parameters
from diffusion4k.training.recipe.recipe import OptimizerRecipe, ScheduleRecipe

__all__ = ["Muon", "check_optimizer", "learning_rate", "make_optimizer", "state_share"]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration; Jordan et al. 2024
_ITERATIONS = 5


class _Common(TypedDict):
    """Arguments of every optimizer."""

    lr: float
    weight_decay: float


class _Adam(_Common):
    betas: tuple[float, float]
    eps: float


def make_optimizer(wanted: OptimizerRecipe, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of all parameters that are trained.

    Raises:
        UsageError: see `check_optimizer`.
    """
    check_optimizer(wanted)
    parameters = trained_parameters(network)
    common: _Common = {"lr": wanted.learning_rate, "weight_decay": wanted.weight_decay}
    adam: _Adam = {**common, "betas": wanted.betas, "eps": wanted.eps}
    if wanted.name == "adamw":
        # On the CPU too, where torch's default takes one parameter after another, eight times
        # slower; on GPUs it needs no copies of all parameters besides.
        return torch.optim.AdamW(parameters.values(), **adam, fused=True)
    if wanted.name == "adafactor":
        return torch.optim.Adafactor(parameters.values(), **common)
    if wanted.name == "muon":
        matrices = {id(p) for p in _matrices_of_blocks(network)}
        groups: list[dict[str, object]] = [
            {"params": [p for p in parameters.values() if id(p) in matrices], "matrices": True},
            {"params": [p for p in parameters.values() if id(p) not in matrices]},
        ]
        return Muon([group for group in groups if group["params"]], **adam)
    import bitsandbytes

    kind = "PagedAdamW8bit" if wanted.name.startswith("paged") else "AdamW8bit"
    return getattr(bitsandbytes.optim, kind)(parameters.values(), **adam)


def learning_rate(schedule: ScheduleRecipe, *, base: float, step: int, steps: int) -> float:
    """Learning rate of the optimizer step `step` in `[0, steps)`."""
    warmup = schedule.warmup_steps
    if step < warmup:
        return base * (step + 1) / warmup
    if schedule.name == "constant":
        return base
    return base / 2 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def check_optimizer(wanted: OptimizerRecipe) -> None:
    """Refuse what cannot run here.

    Raises:
        UsageError: 8 bits without the package or a GPU.
    """
    if not wanted.name.endswith("8bit"):
        return
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(
            f"optimizer.name: found {wanted.name}, which needs bitsandbytes: "
            "`pip install bitsandbytes`, or choose adafactor or muon"
        )
    if not torch.cuda.is_available():
        raise UsageError(
            f"optimizer.name: found {wanted.name}, which needs a GPU: choose adamw, adafactor or "
            "muon"
        )


def state_share(name: str) -> float:
    """Bytes kept of a weight over the weight's own four; about, where matrices are large."""
    shares = {"adamw": 2.0, "adafactor": 0.0, "muon": 1.0}
    return shares.get(name, 0.5)


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal: all singular values of a step are about one.

        m <- beta m + g;   step = 0.2 sqrt(max(rows, columns)) orthogonal(g + beta m)

    The factor (Liu et al., arXiv:2502.16982) gives a step the size of AdamW's, whose learning rate
    and weight decay it can take. Groups without `matrices` are AdamW's. torch's own Muon iterates
    in bfloat16, which CPUs emulate; here that is done only on GPUs.
    """

    def __init__(
        self,
        groups: list[dict[str, object]],
        *,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum: float = 0.95,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps}
        super().__init__(groups, defaults | {"momentum": momentum, "matrices": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of all parameters that have gradients."""
        for group in self.param_groups:
            rate = group["lr"]
            update = (
                partial(self._muon, lr=rate, momentum=group["momentum"])
                if group["matrices"]
                else partial(self._adam, lr=rate, betas=group["betas"], eps=group["eps"])
            )
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - rate * group["weight_decay"])
                    update(parameter, parameter.grad)

    def _muon(self, parameter: Tensor, gradient: Tensor, *, lr: float, momentum: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        kept = state["momentum_buffer"].mul_(momentum).add_(gradient)
        update = of_whole(orthogonal, gradient + momentum * kept)
        local(parameter).add_(update, alpha=-lr * 0.2 * max(parameter.shape) ** 0.5)

    def _adam(
        self,
        parameter: Tensor,
        gradient: Tensor,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in "12")
        state["step"] += 1
        first, second = betas
        mean = state["exp_avg"].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        steps = state["step"].item()
        scale = (square / (1 - second**steps)).sqrt_().add_(eps)
        parameter.addcdiv_(mean, scale, value=-lr / (1 - first**steps))


def orthogonal(matrix: Tensor) -> Tensor:
    """U V' of U S V' = `matrix` `(m, n)`, roughly: singular values between 0.7 and 1.2.

    Newton-Schulz iterations of a quintic that grows small ones fast.
    """
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)


def of_whole(function: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
    """A function of a whole matrix; of one that is shared out (FSDP2), this process's share of it.

    Computed on the mesh's device, also where shares are offloaded; the share is where it was.
    """
    if not isinstance(matrix, DTensor):
        return function(matrix)
    (placement,), mesh = matrix.placements, matrix.device_mesh
    assert isinstance(placement, Shard)
    result = function(matrix.full_tensor().to(mesh.device_type))
    shares, own = result.chunk(mesh.size(), placement.dim), local(matrix)
    rank = mesh.get_local_rank()
    # The last processes have nothing where a matrix has fewer rows.
    return shares[rank].to(own.device) if rank < len(shares) else torch.empty_like(own)


def _matrices_of_blocks(network: nn.Module) -> list[nn.Parameter]:
    from diffusion4k.training.engine.engine import blocks_of

    return [p for block in blocks_of(network) for p in block.parameters() if p.dim() == 2]
