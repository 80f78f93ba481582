"""LoRAs as they stand in a file, of any known layout.

What they were made for stands in the header: `diffusion4k` names family, base model and versions of
what was trained here; PEFT's configuration, which has alpha, stands under diffusers' own key, or in
`adapter_config.json` beside what PEFT wrote.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.lora.changes import Change, Difference, LowRank, change_of, check_tensor
from diffusion4k.lora.fusing import parts_of
from diffusion4k.lora.header import CONFIG_KEY, alpha_of, config_of, origin_of
from diffusion4k.lora.keys import SortedKeys, sort_keys
from diffusion4k.lora.layouts import Layout, layouts
from diffusion4k.lora.stored import open_file
from diffusion4k.original_names import Place, original_names
from diffusion4k.support.text_files import json_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FILE_NAME", "Adapter", "changes_of", "find_file", "read_adapter"]

FILE_NAME = "pytorch_lora_weights.safetensors"
PEFT_FILE_NAME = "adapter_model.safetensors"
PEFT_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Adapter:
    """An adapter as it stands in a file.

    Args:
        layout: whose it is.
        changes: by the layer's name as the file has it, without prefix, and `.weight` or `.bias`;
            by diffusers' name once it is `fitted`.
        config: arguments of PEFT's `LoraConfig`, of a file of diffusers' or PEFT's layout.
        made_for: family and base model, as far as the file tells.
        left_out: keys of text encoders, which are not used.
    """

    path: Path
    layout: Layout
    changes: Mapping[str, Change] = field(repr=False)
    config: Mapping[str, Any]
    made_for: Mapping[str, str]
    left_out: tuple[str, ...] = ()

    def fitted(self, modules: Collection[str]) -> "Adapter":
        """The adapter with layers named as these modules of a transformer are.

        Layers that none of the modules is keep their names.

        Raises:
            Diffusion4kError: a layer cannot be divided into those of the modules.
        """
        flat = {name.replace(".", "_"): name for name in modules}
        found: dict[str, Change] = {}
        for key, change in self.changes.items():
            layer, _, parameter = key.rpartition(".")
            known = flat.get(layer.replace(".", "_"))
            place = None if known else self._place(layer, modules)
            if place is None:
                found[f"{known or layer}.{parameter}"] = change
                continue
            try:
                parts = parts_of(change, place)
            except ValueError as error:
                raise Diffusion4kError(f"{self.path}: {layer}: {error}") from None
            found |= {f"{name}.{parameter}": part for name, part in parts.items()}
        return replace(self, changes=found)

    @property
    def tensors(self) -> "dict[str, Tensor]":
        """All tensors, by layer and name."""
        found: dict[str, Tensor] = {}
        for key, change in self.changes.items():
            layer = key.removesuffix(".weight")
            found |= {f"{layer}.{name}": tensor for name, tensor in change.tensors.items()}
            if change.magnitude is not None:
                found[f"{layer}.magnitude"] = change.magnitude
        return found

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name the weights and what scales them."""
        digest = hashlib.sha256(json.dumps(dict(self.config), sort_keys=True).encode())
        if not self.config:
            alphas = {key: change.alpha for key, change in self.changes.items()}
            digest.update(json.dumps(alphas, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"\0{name}\0".encode())
            digest.update(_bytes(tensor))
        return digest.hexdigest()[:16]

    def _place(self, layer: str, modules: Collection[str]) -> Place | None:
        tables = [self.layout.names] if self.layout.names else list(original_names().values())
        for table in tables:
            place = table.find(layer)
            if place and set(place.layers) <= set(modules):
                return place
        return None


def _bytes(tensor: "Tensor") -> bytes:
    import torch

    return bytes(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())


def find_file(place: str | Path) -> Path:
    """The file of a LoRA: one that is named, or the one in a folder that it has by its name.

    Raises:
        UsageError: there is none, or there are several.
    """
    path = Path(place)
    if not path.is_dir():
        return path
    for name in (FILE_NAME, PEFT_FILE_NAME):
        if (path / name).is_file():
            return path / name
    others = sorted(path.glob("*.safetensors"))
    if len(others) == 1:
        return others[0]
    found = f"holds {len(others)} .safetensors files" if others else "no LoRA in it"
    raise UsageError(
        f"{path}: {found}: give the folder that holds {FILE_NAME}, or the .safetensors file itself"
    )


def read_adapter(place: str | Path) -> Adapter:
    """The adapter in a folder, or in a .safetensors file, of a known layout.

    Raises:
        UsageError: no such file, or a pickle.
        Diffusion4kError: a damaged one, one of an unknown layout, or one whose parts are missing
            or contradict one another.
    """
    file = open_file(find_file(place))
    path = file.path
    try:
        keys = sort_keys(file.shapes)
        if keys.others:
            raise ValueError(
                f"found {keys.others[0]}, which is no part of a LoRA in the layout of "
                f"{keys.layout.programs}"
            )
        config = stated_config(path, file.metadata, keys, file.shapes)
        tensors = file.as_torch()
        changes = changes_of(keys, tensors.__getitem__, config)
        made_for = origin_of(file.metadata)
    except ValueError as error:
        raise Diffusion4kError(
            f"{path}: an incomplete, contradictory or unknown LoRA: {error}; known are the layouts "
            f"of {', '.join(each.programs for each in layouts().values())}"
        ) from None
    if not any(change.norm() or change.magnitude is not None for change in changes.values()):
        raise Diffusion4kError(
            f"{path}: this LoRA changes no weight: it holds zeros alone, as before training"
        )
    return Adapter(path, keys.layout, changes, config, made_for, tuple(keys.text))


def stated_config(
    path: Path,
    metadata: Mapping[str, str],
    keys: SortedKeys,
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Any]:
    """PEFT's configuration: what the header says, or `adapter_config.json` beside the file.

    It is empty in layouts that have none; of diffusers' without a header it is what diffusers takes
    then.

    Raises:
        ValueError: it is not understood, or says other ranks.
    """
    ranks = {
        layer: shapes[parts["lora_A.weight"]][0]
        for layer, parts in keys.layers.items()
        if "lora_A.weight" in parts and shapes[parts["lora_A.weight"]]
    }
    beside = path.with_name(PEFT_CONFIG)
    if keys.layout.name in ("peft", "bare") and path.name == PEFT_FILE_NAME and beside.is_file():
        try:
            said = json_of(beside.read_bytes())
        except ValueError as error:
            raise ValueError(f"{PEFT_CONFIG} beside it is not JSON ({error})") from None
        return config_of({CONFIG_KEY: json.dumps(said)}, "", ranks) if ranks else dict(said)
    if keys.layout.name != "diffusers" or any("alpha" in parts for parts in keys.layers.values()):
        return {}
    return config_of(metadata, "transformer.", ranks)


def changes_of(
    keys: SortedKeys, tensor: "Callable[[str], Tensor]", config: Mapping[str, Any]
) -> dict[str, Change]:
    """The changes of a file's layers, by the layer's name and the parameter's.

    Args:
        tensor: gives a tensor by its key.

    Raises:
        ValueError: names the layer and what is missing, contradictory, or no number.
    """
    changes: dict[str, Change] = {}
    for layer, parts in keys.layers.items():
        try:
            for parameter, change in _of_layer(layer, parts, tensor, config):
                changes[f"{layer}.{parameter}"] = change
        except ValueError as error:
            between = " " if str(error).startswith("has ") else ": "
            raise ValueError(f"{layer}{between}{error}") from None
    return changes


def _of_layer(
    layer: str,
    parts: Mapping[str, str],
    tensor: "Callable[[str], Tensor]",
    config: Mapping[str, Any],
) -> list[tuple[str, Change]]:
    apart = ("alpha", "magnitude", "bias", "bias of B")
    tensors = {part: tensor(key) for part, key in parts.items() if part not in apart}
    alpha = None
    if "alpha" in parts:
        stored = tensor(parts["alpha"])
        if stored.reshape(-1).shape[0] != 1:
            raise ValueError(f"has alpha of shape {tuple(stored.shape)}: allowed is one number")
        alpha = float(stored.reshape(-1)[0])
    found: list[tuple[str, Change]] = []
    if tensors or not {"bias", "bias of B"} & parts.keys():
        magnitude = tensor(parts["magnitude"]) if "magnitude" in parts else None
        change = change_of(tensors, alpha=alpha, magnitude=magnitude)
        if config and alpha is None:
            change = _configured(change, layer, config)
        found.append(("weight", change))
    for part in ("bias", "bias of B"):
        if part in parts:
            check_tensor(part, bias := tensor(parts[part]), two=False)
            factor = found[0][1].factor if part == "bias of B" else 1.0
            found.append(("bias", Difference({"diff": bias * factor})))
    return found


def _configured(change: Change, layer: str, config: Mapping[str, Any]) -> Change:
    """The change with the alpha that PEFT's configuration gives its layer."""
    if isinstance(change, LowRank):
        return replace(change, alpha=alpha_of(dict(config), layer, change.rank))
    factor = config.get("alpha", 1) / config.get("r", 1)
    if change.rank:
        return replace(change, alpha=factor * change.rank)
    # PEFT scales a product of two whole matrices, too; elsewhere it has no alpha.
    scaled = {"lokr_w1": change.tensors["lokr_w1"] * factor}
    return replace(change, tensors={**change.tensors, **scaled})
