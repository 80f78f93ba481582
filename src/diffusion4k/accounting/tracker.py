"""Runs a network on nothing but shapes, and counts what it would compute and hold.

Tensors on the meta device have shape and precision but no contents. Below autograd every operation
passes `CostTracker`: its floating-point operations are counted by torch's own formulas, and the
bytes of every storage from the moment it is made until the last tensor of it is gone. A real run
frees in the same order, so the peak is that of the real run as its allocator sees it. What
operations take inside themselves is not seen, apart from `Workspace`.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["CostTracker", "Workspace", "cpu_workspace", "gpu_attention", "gpu_workspace"]

aten = torch.ops.aten

# torch has formulas for the GPU's fused attention only; the CPU's does the same.
_FLOPS: dict["OpOverloadPacket[..., object]", Callable[..., int]] = {
    **flop_counter.flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: flop_counter.sdpa_flop,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_counter.sdpa_backward_flop,
}
_CONVOLUTIONS = {aten.convolution.default, aten.convolution_backward.default}
_ATTENTION_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward.default

Workspace = Callable[[Iterable[Tensor], Iterable[Tensor]], int]
"""Bytes that a convolution takes beside its inputs and outputs, and gives back."""


def cpu_workspace(inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> int:
    """Bytes that oneDNN copies, as it computes in blocks of 16 channels.

    That is the input (not of RGB), then the output, unless the channels stand last already. Nothing
    for rows alone (wavelets), as they have one channel.
    """
    maps = [tensor for tensor in inputs if tensor.dim() == 4 and tensor.shape[1] > 3]
    maps += [tensor for tensor in outputs if tensor.dim() == 4]
    if any(_channels_last(tensor) for tensor in maps):
        return 0
    blocks = (_size(t) // t.shape[1] * -(-t.shape[1] // 16) * 16 for t in maps)
    return max(blocks, default=0)


def gpu_workspace(inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> int:
    """cuDNN's tensor-core convolutions want channels last: copies of input and output."""
    return sum(map(_size, [*inputs, *outputs]))


def gpu_attention(query: Tensor) -> int:
    """Bytes that FlashAttention 2 takes in its backward pass (`mha_bwd` in torch's sources).

    The gradient of the query `(B, heads, tokens, channels)` is summed in float32, with a number a
    token beside it; tokens are rounded up to 128, channels to 32, or 64 where they are over 128.
    """
    batch, heads, tokens, channels = query.shape
    step = 32 if channels <= 128 else 64
    rounded = -(-channels // step) * step
    return 4 * batch * heads * (-(-tokens // 128) * 128) * (rounded + 1)


class CostTracker(TorchDispatchMode):
    """Counts FLOPs and live bytes of what runs inside its `with` block.

    Every storage belongs to a part: `part` of the moment when it was made, or that of `hold`.

    Args:
        workspace: of convolutions.
        attention: bytes that the backward pass of attention takes, by its query.

    Attributes:
        flops: floating-point operations of matrix products, convolutions and attention so far;
            one multiply-add is two.
        peak: most bytes held at once so far.
        at_peak: bytes of each part at that moment.
    """

    def __init__(
        self,
        workspace: Workspace = cpu_workspace,
        attention: Callable[[Tensor], int] = lambda _: 0,
    ) -> None:
        super().__init__()
        self.flops = 0
        self.part = "activations"
        self.held: Counter[str] = Counter()
        self.total = 0
        self.peak = 0
        self.at_peak: dict[str, int] = {}
        self._workspace, self._attention = workspace, attention
        self._part_of: dict[int, str] = {}
        self._shapes: dict[object, object] = {}

    def hold(self, part: str, tensors: Iterable[Tensor]) -> None:
        """Count tensors that are there already, or were made just now, as of `part`."""
        for tensor in tensors:
            self._watch(tensor, part)

    def forget_peak(self) -> None:
        """Restart the search for the peak from what is held now."""
        self.peak, self.at_peak = self.total, dict(self.held)

    @contextmanager
    def as_part(self, part: str) -> Iterator[None]:
        """Inside the block new storages belong to `part`."""
        before, self.part = self.part, part
        try:
            yield
        finally:
            self.part = before

    def __torch_dispatch__(
        self,
        func: "OpOverload[..., object]",
        types: Collection[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        result = self._shape_of_result(func, args, kwargs)
        if count := _FLOPS.get(func._overloadpacket):
            self.flops += count(*args, **kwargs, out_val=result)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._watch(leaf, None)
        if func in _CONVOLUTIONS:
            inputs = (leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor))
            outputs = (leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
            self._note_peak(self._workspace(inputs, outputs))
        elif func is _ATTENTION_BACKWARD and isinstance(query := args[1], Tensor):
            self._note_peak(self._attention(query))
        return result

    def _shape_of_result(
        self,
        func: "OpOverload[..., object]",
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> object:
        """The result on the meta device, from memory where the same was asked before.

        Blocks of a network repeat, and torch takes up to a millisecond to work a shape out.
        """
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not tensors or not all(tensor.is_meta for tensor in tensors):
            return func(*args, **kwargs)
        if func is aten.index.Tensor:
            indexed, indices = args
            args = (indexed, _all_of(indices))
        if func._schema.is_mutable or any(r.alias_info for r in func._schema.returns):
            return func(*args, **kwargs)
        key = (func, _described(args), _described(kwargs))
        try:
            known = self._shapes.get(key)
        except TypeError:  # An argument that cannot be a key.
            return func(*args, **kwargs)
        if known is None:
            result = func(*args, **kwargs)
            self._shapes[key] = _shapes(result)
            return result
        return _tensors(known)

    def _watch(self, tensor: Tensor, part: str | None) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._part_of:
            size = storage.nbytes()
            self._part_of[key] = part or self.part
            self.held[self._part_of[key]] += size
            self.total += size
            weakref.finalize(storage, self._release, key, size)
            self._note_peak(0)
        elif part and part != self._part_of[key]:
            self.held[self._part_of[key]] -= storage.nbytes()
            self.held[part] += storage.nbytes()
            self._part_of[key] = part

    def _release(self, key: int, size: int) -> None:
        self.held[self._part_of.pop(key)] -= size
        self.total -= size

    def _note_peak(self, beside: int) -> None:
        if self.total + beside > self.peak:
            self.peak = self.total + beside
            self.at_peak = dict(self.held)
            if beside:
                self.at_peak["workspace"] = beside


def _all_of(index: object) -> object:
    """A mask on the meta device has no contents: all of it counts as chosen, which is the most."""
    if isinstance(index, (list, tuple)):
        return [_all_of(each) for each in index]
    if not isinstance(index, Tensor) or index.dtype != torch.bool:
        return index
    if index.dim() != 1:
        raise NotImplementedError(f"a mask of {index.dim()} axes as an index")
    return index.new_empty(len(index), dtype=torch.int64)


def _channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _described(value: object) -> object:
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype, value.device)
    if isinstance(value, (list, tuple)):
        return tuple(map(_described, value))
    if isinstance(value, dict):
        return tuple((name, _described(each)) for name, each in value.items())
    # 1, 1.0 and True are equal as keys, but do not give the same precision.
    return (type(value), value)


def _shapes(result: object) -> object:
    if isinstance(result, Tensor):
        return (result.shape, result.stride(), result.dtype, result.device)
    if isinstance(result, (list, tuple)):
        return type(result)(map(_shapes, result))
    return result


def _tensors(known: object) -> object:
    if isinstance(known, tuple) and known and isinstance(known[0], torch.Size):
        shape, stride, dtype, device = known
        return torch.empty_strided(shape, stride, dtype=dtype, device=device)
    if isinstance(known, (list, tuple)):
        return type(known)(map(_tensors, known))
    return known
