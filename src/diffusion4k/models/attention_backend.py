"""Attention by another kernel than PyTorch's own, for every family, as diffusers dispatches it."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from diffusion4k.errors import Diffusion4kError, UsageError

__all__ = ["BACKENDS", "DispatchedAttention", "check_backend", "use_backend"]

BACKENDS = {"sdpa": None, "flash3": "_flash_3", "sage": "sage", "flex": "flex"}
"""The names of the command line, and diffusers' own; None: nothing is changed."""
_PACKAGES = {"flash3": "flash-attn 3 (flash_attn_interface)", "sage": "sageattention"}


def check_backend(name: str | None, device: torch.device) -> str | None:
    """The backend where one other than PyTorch's is asked for.

    Raises:
        UsageError: no such backend, or one that the device cannot run.
        Diffusion4kError: its package is not there.
    """
    if name is None or name == "sdpa":
        return None
    if name not in BACKENDS:
        raise UsageError(f"attention {name}: allowed are {', '.join(BACKENDS)}")
    from diffusers.models.attention_dispatch import (
        AttentionBackendName,
        _check_attention_backend_requirements,
    )

    if name in _PACKAGES and device.type != "cuda":
        raise UsageError(f"attention {name}: needs a GPU of NVIDIA, and not {device}: leave it out")
    try:
        _check_attention_backend_requirements(AttentionBackendName(BACKENDS[name]))
    except RuntimeError:
        package = _PACKAGES.get(name, "a newer PyTorch")
        raise Diffusion4kError(
            f"attention {name}: {package} is not installed: install it, or leave the option out"
        ) from None
    return name


class DispatchedAttention(TorchFunctionMode):
    """Gives `scaled_dot_product_attention` to a backend of diffusers.

    Families whose attention diffusers does not dispatch have other kernels in this way, too.
    Attention with a mask stays with PyTorch, as not all backends take one.
    """

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend = backend

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not functional.scaled_dot_product_attention:
            return function(*args, **kwargs)
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = dict(zip(names, args, strict=False)) | kwargs
        if given.get("attn_mask") is not None or given["query"].dim() != 4:
            return function(*args, **kwargs)
        from diffusers.models.attention_dispatch import dispatch_attention_fn

        # diffusers has the heads behind the tokens, PyTorch before them.
        heads_last = {name: given.pop(name).transpose(1, 2) for name in names[:3]}
        found = dispatch_attention_fn(**heads_last, **given, backend=self.backend)
        return found.transpose(1, 2)


def use_backend(transformer: nn.Module, name: str) -> None:
    """Run every attention of `transformer` by that backend."""
    forward = transformer.forward
    backend = BACKENDS[name]
    assert backend

    def dispatched(*args: Any, **kwargs: Any) -> Any:
        with DispatchedAttention(backend):
            return forward(*args, **kwargs)

    transformer.forward = dispatched
