"""LoRA files written, in any layout that can be."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora.changes import Change, Kronecker, LowRank
from diffusion4k.lora.file import FILE_NAME, PEFT_CONFIG, PEFT_FILE_NAME
from diffusion4k.lora.fusing import scaled
from diffusion4k.lora.header import CONFIG_KEY, RECORD_KEY, guessed
from diffusion4k.lora.layouts import Layout, layouts, writable_layouts
from diffusion4k.support.files import atomic_path, write_text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_layout", "layout_path", "write_adapter", "write_layout"]


def write_adapter(folder: Path, transformer: Any, made_for: Mapping[str, str]) -> Path:
    """Write the adapters in `transformer` to `folder`; LoRA and DoRA for `load_lora_weights`.

    LoKr is written in LyCORIS' layout, as diffusers has none for it. `made_for` names at least
    `family` and `base_model`.
    """
    from diffusion4k.lora.trainable import trained_changes

    changes = trained_changes(transformer)
    (config,) = transformer.peft_config.values()
    said = None
    if not (config.rank_pattern or _is_dora(changes)):
        targets = sorted(config.target_modules)
        said = {"r": config.r, "lora_alpha": config.r, "target_modules": targets}
    layout = "lycoris" if any(isinstance(each, Kronecker) for each in changes.values()) else None
    return write_layout(
        changes,
        {RECORD_KEY: json.dumps(dict(made_for), sort_keys=True)},
        layout or "diffusers",
        folder / FILE_NAME,
        config=said,
    )


def _is_dora(changes: Mapping[str, Change]) -> bool:
    """Whether any of them is DoRA."""
    return any(change.magnitude is not None for change in changes.values())


def check_layout(name: str) -> Layout:
    """The layout of that name, which can be written.

    Raises:
        UsageError: there is none.
    """
    if name not in writable_layouts():
        raise UsageError(f"layout {name}: allowed are {', '.join(writable_layouts())}")
    return layouts()[name]


def layout_path(path: Path, layout: str) -> Path:
    """The file that is written: PEFT's stands in a folder, with its configuration beside it.

    Raises:
        UsageError: a name that does not end in .safetensors, or for PEFT one that does.
    """
    if layout == "peft":
        if path.suffix:
            raise UsageError(f"{path}: PEFT's layout is a folder: give a name without an ending")
        return path / PEFT_FILE_NAME
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: give a name that ends in .safetensors")
    return path


def write_layout(
    changes: Mapping[str, Change],
    metadata: Mapping[str, str],
    layout: str,
    path: Path,
    *,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write changes as a file, wholly or not at all; the path.

    Args:
        changes: by layer and parameter, under the names that the layout has (see
            `naming.names_for`).
        metadata: texts for the header.
        layout: the name of one that can be written.
        path: the file; for PEFT's configuration, the folder that it is in must be the LoRA's own.
        config: what diffusers' header says in place of what follows from the changes.

    Raises:
        UsageError: no such layout.
        Diffusion4kError: names the change that the layout cannot hold.
    """
    kind = check_layout(layout)
    assert kind.writing
    tensors: dict[str, Tensor] = {}
    for key, change in changes.items():
        layer, _, parameter = key.rpartition(".")
        is_bias = parameter == "bias"
        if change.kind not in kind.writing.kinds or (is_bias and not kind.writing.biases):
            what = "a changed bias" if is_bias else change.kind
            raise Diffusion4kError(
                f"{layer}: {what} has no form in the layout {layout}, which holds "
                f"{', '.join(kind.writing.kinds)}: choose comfyui or kohya, or merge it into the "
                "model (merge-lora)"
            )
        parts = {"bias": change.tensors["diff"]} if is_bias else _parts(change, kind)
        tensors |= {kind.key(layer, part): tensor.contiguous() for part, tensor in parts.items()}
    said = _configuration(changes, as_rank=kind.writing.alpha == "in B")
    header = {"format": "pt", **metadata}
    if kind.writing.alpha == "in B":
        header[CONFIG_KEY] = json.dumps(
            {f"transformer.{name}": value for name, value in (config or said).items()},
            sort_keys=True,
        )
    _save(tensors, header, path)
    if kind.writing.alpha == "configuration":
        written = {"peft_type": "LORA", **said, "bias": "none", "fan_in_fan_out": False}
        write_text(path.with_name(PEFT_CONFIG), json.dumps(written, indent=2) + "\n")
    return path


def _save(tensors: "Mapping[str, Tensor]", header: Mapping[str, str], path: Path) -> None:
    from safetensors.torch import save_file

    # Copies, as parts of a layer that was one share their A, and safetensors takes no such tensors.
    copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(copies, temporary, dict(header))


def _parts(change: Change, layout: Layout) -> "dict[str, Tensor]":
    """The tensors of a change, by what they are."""
    import torch

    assert layout.writing
    parts = dict(change.tensors)
    if change.magnitude is not None:
        parts["magnitude"] = change.magnitude
        if layout.writing.alpha != "tensor":
            # PEFT's, of rows alone, has one axis.
            if change.magnitude.shape[1] != 1:
                raise Diffusion4kError(
                    "its DoRA scales columns, which PEFT and diffusers cannot: choose comfyui or "
                    "kohya, or merge it into the model (merge-lora)"
                )
            parts["magnitude"] = change.magnitude.flatten()
    if layout.writing.alpha == "in B" and change.factor != 1.0:
        parts["lora_B.weight"] = scaled(parts["lora_B.weight"], change.factor)
    if layout.writing.alpha == "tensor" and change.rank:
        alpha = change.factor * change.rank
        parts["alpha"] = torch.tensor(float(alpha))
    return parts


def _configuration(changes: Mapping[str, Change], *, as_rank: bool) -> dict[str, Any]:
    """PEFT's configuration: ranks, layers, and alphas, which are the ranks with `as_rank`."""
    layers = {
        key.removesuffix(".weight"): change
        for key, change in changes.items()
        if isinstance(change, LowRank)
    }
    said = guessed({layer: change.rank for layer, change in layers.items()})
    said["use_dora"] = any(change.magnitude is not None for change in layers.values())
    if not as_rank:
        alphas = {f"^{layer}": change.factor * change.rank for layer, change in layers.items()}
        said["lora_alpha"] = next(iter(alphas.values()), said["lora_alpha"])
        said["alpha_pattern"] = {k: v for k, v in alphas.items() if v != said["lora_alpha"]}
    return said
