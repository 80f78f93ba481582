"""Attention by other kernels than PyTorch's own."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.models.attention_backend import DispatchedAttention, check_backend
from diffusion4k.sampling import Request, Sampler

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("name", [None, "sdpa"])
def test_pytorch_s_own_changes_nothing(name: str | None) -> None:
    assert check_backend(name, CPU) is None


@pytest.mark.parametrize(
    ("name", "device", "error", "message"),
    [
        ("wrong", CPU, UsageError, "attention wrong: allowed are sdpa, flash3, sage, flex"),
        ("flash3", CPU, UsageError, "attention flash3: needs a GPU of NVIDIA, and not cpu"),
        ("sage", CPU, UsageError, "attention sage: needs a GPU of NVIDIA, and not cpu"),
        ("flash3", GPU, Diffusion4kError, "attention flash3: flash-attn 3 .* is not installed"),
        ("sage", GPU, Diffusion4kError, "attention sage: sageattention is not installed"),
    ],
)
def test_what_is_not_there_is_refused_by_name(
    name: str, device: torch.device, error: type[Exception], message: str
) -> None:
    if device == GPU and name in _installed():
        pytest.skip(f"{name} is installed here")
    with pytest.raises(error, match=message):
        check_backend(name, device)


def _installed() -> set[str]:
    from importlib.util import find_spec

    packages = {"flash3": "flash_attn_interface", "sage": "sageattention"}
    return {name for name, package in packages.items() if find_spec(package)}


@pytest.mark.parametrize("backend", ["flex", "_native_math"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_backend_gives_the_same_attention(backend: str) -> None:
    """Softmax of the scores, written out; a mask stays with PyTorch."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, 10, 16)
    expected = torch.softmax(query @ key.mT / 16**0.5, -1) @ value
    mask = torch.rand(2, 3, 10, 10) > 0.5
    mask[..., 0] = True
    masked = torch.softmax((query @ key.mT / 4).masked_fill(~mask, -torch.inf), -1) @ value
    with DispatchedAttention(backend):
        found = functional.scaled_dot_product_attention(query, key, value)
        found_masked = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found_masked, masked, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_an_image_with_another_kernel(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is really called, and the image says so."""
    from diffusers.models import attention_dispatch

    calls: list[str] = []
    dispatch = attention_dispatch.dispatch_attention_fn

    def counted(*args: object, **kwargs: object) -> torch.Tensor:
        calls.append(str(kwargs["backend"]))
        return dispatch(*args, **kwargs)

    monkeypatch.setattr(attention_dispatch, "dispatch_attention_fn", counted)
    request = Request("a cat", 1, width=64, height=64, steps=2)
    plain, flex = Sampler(tiny_model), Sampler(tiny_model, attention="flex")
    settings = flex.settle(request)
    assert settings.attention == "flex" and plain.settle(request).attention is None
    exact = plain.denoise(plain.settle(request))
    assert not calls
    torch.testing.assert_close(flex.denoise(settings), exact, rtol=1e-3, atol=1e-3)
    assert set(calls) == {"flex"}
