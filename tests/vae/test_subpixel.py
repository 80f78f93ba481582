import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diffusion4k.vae import SubPixelConv2d, fold_upsample
from tests.vae.reference import UpsampleThenConv, split_in_four


def _pair(channels: int, out: int, bias: bool = True) -> tuple[nn.Conv2d, SubPixelConv2d]:
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, out, 3, padding=1, bias=bias)
    return conv, fold_upsample(conv)


@settings(max_examples=60)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 20),
    out=st.integers(1, 5),
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    bias=st.booleans(),
    channels_last=st.booleans(),
)
def test_equals_upsampling_then_convolution(
    batch: int, channels: int, out: int, height: int, width: int, bias: bool, channels_last: bool
) -> None:
    conv, folded = _pair(channels, out, bias)
    x = torch.randn(batch, channels, height, width)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected, y = UpsampleThenConv(conv)(x), folded(x)
    assert y.shape == (batch, out, 2 * height, 2 * width)
    assert y.is_contiguous() or y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, expected, rtol=0, atol=float(1e-5 * expected.abs().max()))


def test_equals_at_the_channels_of_a_full_size_decoder() -> None:
    conv, folded = _pair(128, 3)
    x = torch.randn(1, 128, 48, 80)
    expected = UpsampleThenConv(conv)(x)
    assert (folded(x) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("dtype", "ulp"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_adds_no_more_than_the_rounding_of_the_folded_weights(
    dtype: torch.dtype, ulp: float
) -> None:
    conv, folded = _pair(64, 3)
    conv.to(dtype)  # the folded one has the same parameters
    x = torch.randn(2, 64, 12, 10).to(dtype)
    with torch.no_grad():
        y, unfolded = folded(x), UpsampleThenConv(conv)(x)
        truth = UpsampleThenConv(conv.to(torch.float64))(x.double())
    assert y.dtype == dtype
    assert (y - truth).abs().max() <= 2 * ulp * truth.abs().max()
    # Rounding of the weights adds to that of the result, alike in size and independent: sqrt(2).
    assert (y - truth).norm() <= 1.6 * (unfolded - truth).norm()


def test_equals_the_partitioned_tail_without_its_shift() -> None:
    conv, folded = _pair(8, 3)
    x = torch.randn(1, 8, 10, 14)
    y = folded(x)
    torch.testing.assert_close(y, split_in_four(x, conv), rtol=0, atol=1e-5)
    shifted = split_in_four(x, conv, crop=1)
    torch.testing.assert_close(y[..., :-1, :-1], shifted[..., 1:, 1:], rtol=0, atol=1e-5)
    assert not torch.allclose(y, shifted, atol=1e-2)


def test_gradcheck() -> None:
    _, folded = _pair(2, 3)
    folded.double()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(folded, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, folded.weight, folded.bias))


def test_gradients_equal_those_of_the_plain_convolution() -> None:
    conv, folded = _pair(4, 3)
    x = torch.randn(2, 4, 6, 5)
    target = torch.randn(2, 3, 12, 10)
    gradients = []
    for module in (UpsampleThenConv(conv), folded):
        conv.zero_grad()
        ((module(x) - target) ** 2).mean().backward()
        gradients.append([p.grad.clone() for p in conv.parameters() if p.grad is not None])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_state_dict_is_that_of_the_plain_convolution() -> None:
    conv, folded = _pair(4, 3)
    assert folded.weight is conv.weight and folded.bias is conv.bias
    other = SubPixelConv2d(4, 3)
    other.load_state_dict(conv.state_dict())
    x = torch.randn(1, 4, 5, 6)
    assert torch.equal(other(x), folded(x))
    conv.load_state_dict(SubPixelConv2d(4, 3).state_dict())


def test_a_change_of_weights_is_never_missed() -> None:
    conv, folded = _pair(4, 3)
    x = torch.randn(1, 4, 5, 6)
    with torch.no_grad():
        folded(x)
        conv.weight.mul_(2.0)
        assert torch.allclose(folded(x), UpsampleThenConv(conv)(x), atol=1e-5)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
    ],
)
def test_refuses_other_convolutions(conv: nn.Conv2d) -> None:
    with pytest.raises(ValueError, match="cannot fold"):
        fold_upsample(conv)
