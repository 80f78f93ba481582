"""How a device computes: what a real run does above the operations that `Tracker` sees.

Two things depend on the device and are therefore not done by torch on the meta device: attention
in a fused kernel, which never holds the matrix of scores, and autocast, which runs matrix products
in bfloat16 and keeps copies of the weights for that. Here both happen as torch documents them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Autocast", "FusedAttention"]

# https://docs.pytorch.org/docs/stable/amp.html#autocast-op-reference: those that networks use.
_IN_BFLOAT16 = frozenset(
    {
        *("__matmul__", "__rmatmul__", "addmm", "baddbmm", "bmm", "conv2d", "linear", "matmul"),
        *("mm", "scaled_dot_product_attention"),
    }
)
_IN_FLOAT32_ON_GPU = frozenset(
    {
        *("__pow__", "__rpow__", "cosine_similarity", "cumsum", "exp", "group_norm", "layer_norm"),
        *("log", "log_softmax", "mse_loss", "norm", "pow", "prod", "reciprocal", "rsqrt"),
        *("softmax", "softplus", "sum"),
    }
)


class FusedAttention(TorchFunctionMode):
    """`scaled_dot_product_attention` by a kernel that keeps its result and one number a row.

    That is what flash and memory-efficient attention do on GPUs, and torch's own on the CPU.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Collection[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        is_attention = func is F.scaled_dot_product_attention
        chosen: Callable[..., object] = _attend if is_attention else func
        return chosen(*args, **(kwargs or {}))


class Autocast(TorchFunctionMode):
    """`torch.autocast` to bfloat16 for the meta device.

    Inside `forward()` the copies of weights are kept for the whole block, as autocast keeps them;
    outside, where gradient checkpointing computes blocks again, each for itself. Copies are made
    within `copying()`, by which they can be distinguished.
    """

    def __init__(
        self, *, gpu: bool, copying: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        super().__init__()
        self.copying = copying
        self._float32 = _IN_FLOAT32_ON_GPU if gpu else frozenset()
        self._copies: dict[int, Tensor] | None = None

    @contextmanager
    def forward(self) -> Iterator[None]:
        """The block in which a real run has autocast on."""
        self._copies = {}
        try:
            yield
        finally:
            self._copies = None

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Collection[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        dtype = torch.bfloat16 if name in _IN_BFLOAT16 else torch.float32
        if name in _IN_BFLOAT16 or name in self._float32:
            args = tuple(self._cast(each, dtype) for each in args)
            kwargs = {key: self._cast(each, dtype) for key, each in kwargs.items()}
        return func(*args, **kwargs)

    def _cast(self, value: object, dtype: torch.dtype) -> object:
        if isinstance(value, Tensor):
            wanted = value.is_floating_point() and value.dtype not in (dtype, torch.float64)
            return self._copy(value, dtype) if wanted else value
        if isinstance(value, (list, tuple)):
            return type(value)(self._cast(each, dtype) for each in value)
        if isinstance(value, dict):
            return {name: self._cast(each, dtype) for name, each in value.items()}
        return value

    def _copy(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        is_weight = value.is_leaf and value.requires_grad and dtype == torch.bfloat16
        if not is_weight:
            return value.to(dtype)
        copies = {} if self._copies is None else self._copies
        if id(value) not in copies:
            with self.copying():
                copies[id(value)] = value.to(dtype)
        return copies[id(value)]


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(groups, -3) for t in (key, value))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = attn_mask.to(query.dtype)
    result: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]
    return result
