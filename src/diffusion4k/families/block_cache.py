"""What diffusers' caches must know of a transformer's blocks, where they do not know it."""

from typing import Any

from diffusers.hooks import HookRegistry, ModelHook
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from torch import nn

__all__ = ["describe_block", "keep_text"]

_KEEPS_TEXT = "diffusion4k_keeps_text"


def describe_block(block: nn.Module, *, hidden_states_is_first: bool = False) -> None:
    """Say that a block like this gives its hidden states, and nothing else.

    Args:
        hidden_states_is_first: they are its first argument, and not called `hidden_states`.
    """
    places = {"hidden_states": 0} if hidden_states_is_first else None
    TransformerBlockRegistry.register(
        type(block), TransformerBlockMetadata(0, _cached_parameter_indices=places)
    )


class _KeepsText(ModelHook):
    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        _, hidden_states = self.fn_ref.original_forward(*args, **kwargs)
        names = ("hidden_states", "encoder_hidden_states")
        given = dict(zip(names, args, strict=False)) | kwargs
        return given["encoder_hidden_states"], hidden_states


def keep_text(block: nn.Module) -> None:
    """Let a block that drops the text, as nothing reads it any more, return it as it was."""
    registry = HookRegistry.check_if_exists_or_initialize(block)
    if registry.get_hook(_KEEPS_TEXT) is None:
        registry.register_hook(_KeepsText(), _KEEPS_TEXT)
