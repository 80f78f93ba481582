"""Model folders and LoRAs that are wrong, each a changed copy of what is whole."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.contract.inputs import Maker, a_file, a_folder, dangling, fifo, missing

__all__ = ["AUTOENCODERS", "DEFAULTS", "LORAS", "MODELS", "MODELS_THAT_SAMPLE", "PLANNED", "lora"]


def _copied(change: Callable[[Path], object]) -> Maker:
    def make(path: Path, model: Path) -> None:
        shutil.copytree(model, path)
        change(path)

    return make


def _json(file: str, change: Callable[[Any], Any]) -> Maker:
    def rewrite(path: Path) -> None:
        place = path / file
        place.write_text(json.dumps(change(json.loads(place.read_text()))))

    return _copied(rewrite)


def _with(**values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda content: content | values


def _weights(part: str, change: Callable[[bytes], bytes]) -> Maker:
    def rewrite(path: Path) -> None:
        place = path / part / "diffusion_pytorch_model.safetensors"
        place.write_bytes(change(place.read_bytes()))

    return _copied(rewrite)


def _pickled(path: Path) -> None:
    for part in ("transformer", "vae"):
        place = path / part / "diffusion_pytorch_model.safetensors"
        place.unlink()
        place.with_suffix(".bin").write_bytes(pickle.dumps({"weight": 1}))


def _broken_weights(change: Callable[[bytes], bytes]) -> Maker:
    def rewrite(path: Path) -> None:
        for part in ("transformer", "vae"):
            place = path / part / "diffusion_pytorch_model.safetensors"
            place.write_bytes(change(place.read_bytes()))

    return _copied(rewrite)


def _bad_header(_: bytes) -> bytes:
    return struct.pack("<Q", 1 << 62) + b"{}"


def _unlike(content: bytes) -> bytes:
    header = b'{"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}'
    return struct.pack("<Q", len(header)) + header + bytes(8)


INDEX = "model_index.json"
MODELS: dict[str, Maker] = {
    "missing": missing,
    "file": a_file,
    "empty": a_folder,
    "fifo": fifo,
    "dangling": dangling,
    "index-no-json": _copied(lambda path: (path / INDEX).write_text("{")),
    "index-list": _copied(lambda path: (path / INDEX).write_text("[1]")),
    "index-deep": _copied(lambda path: (path / INDEX).write_text("[" * 100_000)),
    "index-not-utf8": _copied(lambda path: (path / INDEX).write_bytes(b"\xff\xfe")),
    "index-number": _json(INDEX, _with(_class_name=5)),
    "index-foreign": _json(INDEX, _with(_class_name="os")),
    "component-number": _json(INDEX, _with(transformer=5, vae=5)),
    "component-foreign": _json(INDEX, _with(transformer=["os", "system"], vae=["os", "system"])),
    "settings-list": _copied(lambda path: (path / "diffusion4k.json").write_text("[]")),
    "settings-deep": _copied(lambda path: (path / "diffusion4k.json").write_text("[" * 100_000)),
    "weights-header": _broken_weights(_bad_header),
    "weights-offsets": _broken_weights(_unlike),
    "weights-cut": _broken_weights(lambda content: content[: len(content) // 2]),
    "weights-empty": _broken_weights(lambda _: b""),
    "weights-pickle": _copied(_pickled),
}
TRANSFORMERS: dict[str, Maker] = {
    "heads": _json("transformer/config.json", _with(num_attention_heads=-1)),
    "layers": _json("transformer/config.json", _with(num_layers=10**9)),
    "infinity": _copied(
        lambda path: (path / "transformer/config.json").write_text('{"num_layers": Infinity}')
    ),
    "shift-text": _json("scheduler/scheduler_config.json", _with(shift="three")),
    "shift-zero": _json("scheduler/scheduler_config.json", _with(shift=0)),
    "scheduler-foreign": _json(INDEX, _with(scheduler=["diffusers", "DiffusionPipeline"])),
    "scheduler-other": _json(INDEX, _with(scheduler=["diffusers", "DDPMScheduler"])),
    "text-negative": _copied(
        lambda path: (path / "diffusion4k.json").write_text('{"max_sequence_length": -1}')
    ),
    "text-huge": _copied(
        lambda path: (path / "diffusion4k.json").write_text(
            '{"max_sequence_length": 1000000000000}'
        )
    ),
}
MODELS_THAT_SAMPLE = MODELS | TRANSFORMERS
PLANNED = {kind: make for kind, make in MODELS.items() if not kind.startswith("weights")}
AUTOENCODERS = {
    kind: make
    for kind, make in MODELS.items()
    # Of a folder that holds an autoencoder no other part is looked at.
    if kind not in ("index-foreign", "component-number", "component-foreign")
}
DEFAULTS: dict[str, Maker] = {
    f"{key}-{value}": _copied(
        lambda path, key=key, value=value: (path / "diffusion4k.json").write_text(
            json.dumps({key: value})
        )
    )
    for key, value in (
        ("steps", -3),
        ("steps", "ten"),
        ("guidance", -1),
        ("width", 0),
        ("height", 1.5),
    )
}


def lora(change: Callable[[dict[str, Any]], dict[str, Any]], **metadata: str) -> Maker:
    """A LoRA of the model's queries, changed."""

    def make(path: Path, model: Path) -> None:
        weights = load_file(model / "transformer" / "diffusion_pytorch_model.safetensors")
        pairs: dict[str, Any] = {}
        for key, weight in weights.items():
            if key.endswith("attn.to_q.weight"):
                layer = f"transformer.{key.removesuffix('.weight')}"
                pairs[f"{layer}.lora_A.weight"] = np.ones((4, weight.shape[1]), np.float32)
                pairs[f"{layer}.lora_B.weight"] = np.ones((weight.shape[0], 4), np.float32)
        path.mkdir()
        save_file(change(pairs), path / "pytorch_lora_weights.safetensors", metadata or None)

    return make


def _only(half: str) -> Maker:
    return lora(lambda pairs: {k: v for k, v in pairs.items() if half in k})


def _lora_file(content: bytes) -> Maker:
    def make(path: Path, _: Path) -> None:
        path.mkdir()
        (path / "pytorch_lora_weights.safetensors").write_bytes(content)

    return make


def _said(**values: Any) -> Maker:
    said = json.dumps({f"transformer.{key}": value for key, value in values.items()})
    return lora(dict, lora_adapter_metadata=said)


def _without_one(half: str) -> Maker:
    def change(pairs: dict[str, Any]) -> dict[str, Any]:
        gone = next(key for key in pairs if half in key)
        return {key: value for key, value in pairs.items() if key != gone}

    return lora(change)


LORAS: dict[str, Maker] = {
    "missing": missing,
    "empty": a_folder,
    "fifo": fifo,
    "dangling": dangling,
    "no-safetensors": _lora_file(b"this is no safetensors file"),
    "pickle": _lora_file(pickle.dumps({"weight": 1})),
    "header": _lora_file(_bad_header(b"")),
    "deep": _lora_file(struct.pack("<Q", 100_000) + b"[" * 100_000),
    "only-a": _only("lora_A"),
    "only-b": _only("lora_B"),
    "one-a-missing": _without_one("lora_A"),
    "one-b-missing": _without_one("lora_B"),
    "ranks-differ": lora(
        lambda d: {
            k: np.ones((len(v), 8), np.float32) if "lora_B" in k else v for k, v in d.items()
        }
    ),
    "scalars": lora(lambda d: {k: np.ones((), np.float32) for k in d}),
    "said-rank": _said(r=16, lora_alpha=16, target_modules=["attn.to_q"]),
    "said-alpha-only": _said(lora_alpha=8),
    "said-text": _said(r="4", lora_alpha=4, target_modules=["attn.to_q"]),
    "said-list": lora(dict, lora_adapter_metadata="[]"),
    "record-list": lora(dict, diffusion4k="[]"),
    "not-a-number": lora(lambda d: {k: v * np.nan for k, v in d.items()}),
    "alpha-zero": lora(
        lambda d: d | {f"{k[:-14]}.alpha": np.zeros((), np.float32) for k in d if "lora_A" in k}
    ),
    "rank-zero": lora(
        lambda d: {k: v[:0] if "lora_A" in k else v[:, :0].copy() for k, v in d.items()}
    ),
    "two-layouts": lora(
        lambda d: d | {f"lora_unet_{k[12:-14]}.lora_down.weight": v for k, v in d.items()}
    ),
}
