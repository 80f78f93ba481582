r"""Two-dimensional discrete wavelet transform of latents, one level, and its inverse.

With analysis filters h_lo, h_hi of even length L along an axis of even length N (periodization, as
in PyWavelets), one axis is transformed by

    lo[k] = sum_m h_lo[L-1-m] x[(2k + 1 - L/2 + m) mod N],   hi[k] likewise,   k = 0 .. N/2 - 1,

and the other axis after it. The inverse is the adjoint of the transform by the dual filters. Haar
(L = 2, orthonormal) is one butterfly on the four pixels of a 2x2 block and its own inverse,

    LL = (a+b+c+d)/2   LH = (a+b-c-d)/2   HL = (a-b+c-d)/2   HH = (a-b-c+d)/2   of  [a b]
                                                                                   [c d]

and needs no convolution. LH is the detail along the vertical axis (PyWavelets' cH), HL that along
the horizontal one (cV).
"""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import BackwardCFunction

if TYPE_CHECKING:
    import pywt

__all__ = ["SUB_BANDS", "dwt2", "filter_length", "idwt2", "is_orthonormal"]

SUB_BANDS = ("LL", "LH", "HL", "HH")
"""In the order in which `dwt2` stacks them."""


def dwt2(x: Tensor, wavelet: str = "haar") -> Tensor:
    """One level of the wavelet transform.

    Args:
        x: `(B, C, H, W)`, H and W even; float64, float32, bfloat16 or float16, any strides.
        wavelet: name of a discrete PyWavelets filter bank.

    Returns:
        `(B, 4C, H/2, W/2)` of the same dtype: all channels' LL, then LH, HL, HH. In 16-bit formats
        the sums are taken in float32 and rounded once, also under autocast (Haar in bfloat16: a
        third less error than sums in bfloat16).

    Raises:
        ValueError: odd or empty size, other number of axes, not floating point, unknown wavelet.
    """
    _check(x, "dwt2")
    if x.shape[-2] % 2 or x.shape[-1] % 2:
        raise ValueError(f"dwt2: height and width must be even, got {tuple(x.shape[-2:])}")
    if wavelet == "haar":
        return _Haar.apply(x)
    return _Analysis.apply(x, _filters(wavelet, _wide(x.dtype), x.device)[0])


def idwt2(y: Tensor, wavelet: str = "haar") -> Tensor:
    """The exact inverse of `dwt2`.

    Exact to rounding (in float64 to the 1e-10 that some filters are tabulated to) for every bank
    but `dmey`, whose filters are truncated: on unit normal values it errs by about 0.02, here as
    in PyWavelets.

    Args:
        y: `(B, 4C, H, W)`, sub-bands stacked as `dwt2` gives them.
        wavelet: name of a discrete PyWavelets filter bank.

    Returns:
        `(B, C, 2H, 2W)` of the same dtype.

    Raises:
        ValueError: channels not divisible by four, and as for `dwt2`.
    """
    _check(y, "idwt2")
    if y.shape[1] % 4:
        raise ValueError(f"idwt2: channels must be four sub-bands each, got {y.shape[1]} channels")
    if wavelet == "haar":
        return _InverseHaar.apply(y)
    return _Synthesis.apply(y, _filters(wavelet, _wide(y.dtype), y.device)[1])


def filter_length(wavelet: str) -> int:
    """Taps of the wavelet's filters: an even number, 2 for Haar.

    Raises:
        ValueError: unknown wavelet.
    """
    return 2 if wavelet == "haar" else int(_bank(wavelet).dec_len)


@lru_cache
def is_orthonormal(wavelet: str) -> bool:
    """Whether the transform keeps the L2 norm (Parseval), to the 1e-8 filters are tabulated to.

    Not `dmey`, though PyWavelets calls it orthogonal: its truncated filters miss by half a percent.

    Raises:
        ValueError: unknown wavelet.
    """
    filters = _filters(wavelet, torch.float64, torch.device("cpu"))[0]
    identity = torch.eye(2 * filters.shape[-1], dtype=torch.float64)
    transform = _analyse(identity, filters).transpose(0, 1).flatten(1)
    return torch.allclose(transform @ transform.mT, identity, atol=1e-8)


def _check(x: Tensor, name: str) -> None:
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(
            f"{name}: takes a floating-point tensor (B, C, H, W), got {tuple(x.shape)} {x.dtype}"
        )
    if 0 in x.shape[1:]:
        raise ValueError(f"{name}: channels, height and width must not be 0, got {tuple(x.shape)}")


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def _widened(x: Tensor) -> Tensor:
    return x.to(_wide(x.dtype))


def _unrounded(device: torch.device) -> AbstractContextManager[object]:
    """Context without autocast, which would round to 16 bits; `meta` has none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


# Rows before columns, as sums of rows run along memory.
def _haar(x: Tensor) -> Tensor:
    wide = _widened(x)
    top, bottom = wide[..., 0::2, :], wide[..., 1::2, :]
    low, high = (top + bottom).mul_(0.5), (top - bottom).mul_(0.5)
    (a, b), (c, d) = ((rows[..., 0::2], rows[..., 1::2]) for rows in (low, high))
    batch, channels, height, width = a.shape
    # Filled band by band: concatenating holds all four twice.
    bands = a.new_empty(batch, 4, channels, height, width)
    bands[:, 0] = a + b
    bands[:, 1] = c + d
    bands[:, 2] = a - b
    bands[:, 3] = c - d
    return bands.flatten(1, 2).to(x.dtype)


def _inverse_haar(y: Tensor) -> Tensor:
    ll, lh, hl, hh = _widened(y).chunk(4, dim=1)
    low, high = _columns(ll, hl), _columns(lh, hh)
    return torch.stack((low + high, low - high), dim=-2).flatten(-3, -2).to(y.dtype)


def _columns(low: Tensor, high: Tensor) -> Tensor:
    # Filled in place: stacking on the last axis takes twice as long.
    columns = low.new_empty(*low.shape, 2)
    columns[..., 0] = low + high
    columns[..., 1] = low - high
    return columns.flatten(-2).mul_(0.5)


# The transform is orthogonal: the gradient of one direction is the other. Autograd's own gradient
# of the slices pads each with zeros to full size, which takes about 1.5 times as long.
class _Haar(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _haar(x)

    @staticmethod
    def setup_context(ctx: BackwardCFunction, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: BackwardCFunction, grad: Tensor) -> Tensor:
        return _InverseHaar.apply(grad)


class _InverseHaar(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor) -> Tensor:
        return _inverse_haar(y)

    @staticmethod
    def setup_context(ctx: BackwardCFunction, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: BackwardCFunction, grad: Tensor) -> Tensor:
        return _Haar.apply(grad)


# Of other wavelets the gradient of analysis is synthesis by the same filters. Said so, nothing is
# kept between the two; autograd's own would keep the extended input of both convolutions.
class _Analysis(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, filters: Tensor) -> Tensor:
        with _unrounded(x.device):
            across = _analyse(_widened(x), filters)  # (B, C, 2, H, W/2)
            bands = _analyse(across.mT, filters).mT  # (B, C, 2, 2, H/2, W/2)
        batch, channels, _, _, height, width = bands.shape
        # Stacked as LL, LH, HL, HH: the band along the vertical axis changes fastest.
        stacked = bands.permute(0, 2, 3, 1, 4, 5).reshape(batch, 4 * channels, height, width)
        return stacked.to(x.dtype)

    @staticmethod
    def setup_context(
        ctx: BackwardCFunction, inputs: tuple[Tensor, Tensor], output: Tensor
    ) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: BackwardCFunction, grad: Tensor) -> tuple[Tensor, None]:
        return _Synthesis.apply(grad, *ctx.saved_tensors), None


class _Synthesis(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, filters: Tensor) -> Tensor:
        batch, channels, height, width = y.shape
        bands = _widened(y).reshape(batch, 2, 2, channels // 4, height, width)
        with _unrounded(y.device):
            across = _synthesise(bands.permute(0, 3, 1, 2, 5, 4), filters).mT
            return _synthesise(across, filters).to(y.dtype)

    @staticmethod
    def setup_context(
        ctx: BackwardCFunction, inputs: tuple[Tensor, Tensor], output: Tensor
    ) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: BackwardCFunction, grad: Tensor) -> tuple[Tensor, None]:
        return _Analysis.apply(grad, *ctx.saved_tensors), None


@lru_cache
def _bank(wavelet: str) -> "pywt.Wavelet":
    import pywt

    if wavelet not in pywt.wavelist(kind="discrete"):
        raise ValueError(
            f"unknown wavelet {wavelet!r}: use haar or another of pywt.wavelist(kind='discrete')"
        )
    return pywt.Wavelet(wavelet)


# The compiler cannot look into PyWavelets, and need not: the filters are constants.
@torch.compiler.assume_constant_result
def _filters(wavelet: str, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Filters `(2, 1, L)`, low and high: the transform's, and those whose adjoint inverts it."""
    return _kept_filters(wavelet, dtype, device)


@lru_cache
def _kept_filters(wavelet: str, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    bank = _bank(wavelet)
    transform = [bank.dec_lo[::-1], bank.dec_hi[::-1]]
    dual = [bank.rec_lo, bank.rec_hi]
    # Kept for later calls, which may want gradients even if this one does not.
    with torch.inference_mode(False):
        first, second = (
            torch.tensor(pair, dtype=torch.float64).unsqueeze(1).to(device, dtype)
            for pair in (transform, dual)
        )
    return first, second


def _places(length: int, taps: int, device: torch.device) -> Tensor:
    """Where the periodic extension of an axis, `length + taps - 2` long, takes its values."""
    return torch.arange(1 - taps // 2, length + taps // 2 - 1, device=device) % length


def _analyse(x: Tensor, filters: Tensor) -> Tensor:
    """Low and high band along the last axis: `(..., H, W)` to `(..., 2, H, W/2)`."""
    extended = x.index_select(-1, _places(x.shape[-1], filters.shape[-1], x.device))
    bands = F.conv1d(extended.reshape(-1, 1, extended.shape[-1]), filters, stride=2)
    return bands.reshape(*x.shape[:-1], 2, x.shape[-1] // 2).movedim(-2, -3)


def _synthesise(bands: Tensor, filters: Tensor) -> Tensor:
    """The adjoint of `_analyse`: `(..., 2, H, W/2)` to `(..., H, W)`."""
    *leading, _, height, half = bands.shape
    rows = bands.movedim(-3, -2).reshape(-1, 2, half)
    extended = F.conv_transpose1d(rows, filters, stride=2)
    folded = extended.new_zeros(*extended.shape[:-1], 2 * half)
    folded = folded.index_add(-1, _places(2 * half, filters.shape[-1], bands.device), extended)
    return folded.reshape(*leading, height, 2 * half)
