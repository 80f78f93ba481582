"""ComfyUI itself beside diffusion4k and diffusers: same weights, same numbers?

    python integrations/comfyui/check.py PATH/TO/ComfyUI

on the CPU, with tiny models and random weights, without a download:

(a) the nodes, loaded by ComfyUI, on its own autoencoder modules;
(b) LoRAs of SD3, SD3.5 and FLUX.1, in diffusers' layout as training writes them, and converted to
    ComfyUI's and kohya's;
(c) transformers in one file: as `diffusion4k export` writes them, and under diffusers' names;
(d) an autoencoder of SD3's size as `diffusion4k export --part vae` writes it.

Each line says how many keys ComfyUI missed, did not expect or did not load, and the largest
difference to the reference over the reference's largest value. Above 1e-4 the check fails.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1]))  # the clone

from integrations.comfyui.check_models import TRANSFORMERS, Example, write_model  # noqa: E402
from integrations.comfyui.comfyui_process import start_comfyui  # noqa: E402

MOST = 1e-4
_COMPLAINT = re.compile(r"missing|unexpected|left ?over|not loaded|mismatch|failed", re.IGNORECASE)


class Complaints(logging.Handler):
    """What ComfyUI logs of keys; it says so, and goes on."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line that complains."""
        if _COMPLAINT.search(line := record.getMessage()):
            self.lines.append(line)


class Report:
    """The lines of the check, printed as they come."""

    def __init__(self) -> None:
        self.failed = False

    def add(self, what: str, found: Tensor, expected: Tensor, complaints: list[str]) -> None:
        """One comparison, and what ComfyUI complained of on the way to it."""
        same = found.shape == expected.shape
        scale = float(expected.abs().max())
        difference = float((found - expected).abs().max()) / scale if same else float("nan")
        good = not complaints and difference <= MOST  # False for NaN, too
        self.failed |= not good
        print(f"{'ok  ' if good else 'FAIL'} {what:<50} {len(complaints)} {difference:.1e}")
        for line in complaints:
            print(f"     ComfyUI: {line[:300]}")
        if not same:
            print(f"     shapes {tuple(found.shape)} and {tuple(expected.shape)}")


@contextmanager
def complaints() -> Iterator[list[str]]:
    """The lines that ComfyUI complains in."""
    root, handler = logging.getLogger(), Complaints()
    before = root.level, root.handlers
    root.handlers = [handler]
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.setLevel(before[0])
        root.handlers = before[1]


def load_nodes(folder: Path) -> dict[str, Any]:
    """ComfyUI's nodes and those of diffusion4k, linked into a folder and loaded by ComfyUI."""
    import asyncio

    import nodes

    link = folder / "custom_nodes" / "diffusion4k"
    link.parent.mkdir()
    link.symlink_to(FOLDER)
    if not asyncio.run(nodes.load_custom_node(str(link))):
        raise SystemExit("ComfyUI could not load the nodes: see above")
    return nodes.NODE_CLASS_MAPPINGS


def check_nodes(report: Report, folder: Path) -> None:
    """The nodes beside ComfyUI's own and diffusers: (a)."""
    import comfy.sd
    import folder_paths

    from diffusion4k.vae import PartitionedAutoencoderKL, load_autoencoder
    from diffusion4k.vae.ldm import from_ldm
    from integrations.comfyui.check_models import sd3_autoencoder

    mapping = load_nodes(folder)
    decode, encode, load = (
        mapping[f"Diffusion4K{name}"]()
        for name in ("DecodeInStrips", "EncodeInStrips", "LoadF16Autoencoder")
    )
    stock = sd3_autoencoder()
    with complaints() as lines:
        vae = comfy.sd.VAE(sd=stock.state_dict(), dtype=torch.float32)
        latents, pixels = torch.randn(2, 16, 12, 20), torch.rand(2, 103, 161, 3)
        (images,) = decode.run({"samples": latents}, vae, "as loaded", 0.05)
        report.add("(a) decode in strips, F=8", images, vae.decode(latents), lines)
        (found,) = encode.run(pixels, vae, "as loaded", 0.05)
        report.add("(a) encode in strips, F=8", found["samples"], vae.encode(pixels), lines)

        latents, pixels = torch.randn(1, 16, 6, 10), torch.rand(1, 96, 160, 3)
        f16 = PartitionedAutoencoderKL.from_autoencoder(from_ldm(vae.first_stage_model))
        images_expected, latents_expected = by_diffusers(f16, latents, pixels)
        (images,) = decode.run({"samples": latents}, vae, "16", 0.05)
        report.add("(a) decode in strips, F=16", images, images_expected, lines)
        (found,) = encode.run(pixels, vae, "16", 0.05)
        report.add("(a) encode in strips, F=16", found["samples"], latents_expected, lines)

        saved = Path(folder_paths.get_folder_paths("vae")[0]) / "f16"
        f16.save_pretrained(saved)
        (loaded,) = load.run("vae/f16")
        reference = load_autoencoder(saved, loaded.vae_dtype)
        images_expected, latents_expected = by_diffusers(reference, latents, pixels)
        (images,) = mapping["VAEDecode"]().decode(loaded, {"samples": latents})
        report.add("(a) F=16 loaded, ComfyUI's VAE Decode", images, images_expected, lines)
        (images,) = mapping["VAEDecodeTiled"]().decode(loaded, {"samples": latents}, 512)
        report.add("(a) F=16 loaded, VAE Decode (Tiled)", images, images_expected, lines)
        (found,) = mapping["VAEEncode"]().encode(loaded, pixels)
        report.add("(a) F=16 loaded, VAE Encode", found["samples"], latents_expected, lines)


def by_diffusers(vae: Any, latents: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Images of `latents` and latents of `pixels` as ComfyUI has both."""
    images = ((vae.decode(latents).sample + 1) / 2).clamp(0, 1).movedim(1, -1)
    return images, vae.encode(2 * pixels.movedim(-1, 1) - 1).latent_dist.mode()


def check_loras(report: Report, folder: Path, example: Example) -> None:
    """A LoRA in three layouts: (b)."""
    import comfy.sd
    import comfy.utils

    from diffusion4k.interchange.convert import convert
    from diffusion4k.lora import add_adapter, linear_layers, write_adapter

    base = comfy_transformer(example, example.build().state_dict())
    adapted = example.build()
    every = sorted(linear_layers(adapted))
    add_adapter(adapted, rank=4, alpha=8, targets=every, seed=0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    made_for = {"family": example.family, "base_model": "check"}
    own = write_adapter(folder / f"{example.name}-lora", adapted, made_for)
    expected = example.run_diffusers(adapted)
    unchanged = example.run_diffusers(example.build())
    print(
        f"     {example.name}: {len(every)} layers; the LoRA changes the output by "
        f"{float((expected - unchanged).abs().max() / unchanged.abs().max()):.0%}"
    )
    for layout in ("diffusers", "comfyui", "kohya"):
        file = own
        if layout != "diffusers":
            file = folder / f"{example.name}-{layout}.safetensors"
            convert(own, file, layout, family=example.family)
        with complaints() as lines:
            lora = comfy.utils.load_torch_file(str(file), safe_load=True)
            patched, _ = comfy.sd.load_lora_for_models(base, None, lora, 1.0, 0.0)
            found = run_comfy(example, patched)
        report.add(f"(b) LoRA of {example.name}, layout {layout}", found, expected, lines)


def check_transformers(report: Report, folder: Path, example: Example) -> None:
    """A transformer in one file: (c)."""
    from safetensors.torch import load_file, save_file

    from diffusion4k.interchange.export import export_part

    model = write_model(folder / example.name, example)
    stem = str(folder / example.name)
    stock = Path(f"{stem}-diffusers.safetensors")
    save_file(example.build().state_dict(), stock)
    for what, file, rounded in (
        ("as exported", export_part(model, f"{stem}.safetensors"), example.build()),
        ("no prefix", export_part(model, f"{stem}-0.safetensors", prefix=False), example.build()),
        ("bf16", export_part(model, f"{stem}-16.safetensors", dtype="bf16"), example.build("bf16")),
        ("fp8", export_part(model, f"{stem}-8.safetensors", dtype="fp8"), example.build("fp8")),
        ("diffusers' names", stock, example.build()),
    ):
        expected = example.run_diffusers(rounded)
        with complaints() as lines:
            patcher = comfy_transformer(example, load_file(file))
            found = run_comfy(example, patcher)
        report.add(f"(c) transformer of {example.name}, {what}", found, expected, lines)


def check_autoencoder(report: Report, folder: Path) -> None:
    """An autoencoder in one file: (d)."""
    import comfy.sd
    import comfy.utils

    from diffusion4k.interchange.export import export_part
    from integrations.comfyui.check_models import sd3_autoencoder

    stock = sd3_autoencoder()
    model = write_model(folder / "with-autoencoder", TRANSFORMERS[0], stock)
    file = export_part(model, folder / "vae.safetensors", part="vae")
    with complaints() as lines:
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(file)), dtype=torch.float32)
        latents, pixels = torch.randn(1, 16, 8, 12), torch.rand(1, 64, 96, 3)
        images_expected, latents_expected = by_diffusers(stock, latents, pixels)
        report.add("(d) autoencoder exported, decode", vae.decode(latents), images_expected, lines)
        report.add("(d) autoencoder exported, encode", vae.encode(pixels), latents_expected, lines)


def comfy_transformer(example: Example, weights: dict[str, Tensor]) -> Any:
    """The transformer as ComfyUI's loader makes it of a file's weights.

    ComfyUI knows FLUX.1 at its published width alone, whatever the file holds: it is told the width
    of a tiny one.
    """
    import comfy.model_detection
    import comfy.sd

    detect: Callable[..., dict[str, Any] | None] = comfy.model_detection.detect_unet_config

    def detect_tiny(*arguments: Any, **options: Any) -> dict[str, Any] | None:
        found = detect(*arguments, **options)
        return found and {**found, **example.sizes}

    comfy.model_detection.detect_unet_config = detect_tiny
    try:
        options = {"dtype": torch.float32}
        patcher = comfy.sd.load_diffusion_model_state_dict(dict(weights), options)
    finally:
        comfy.model_detection.detect_unet_config = detect
    if patcher is None:
        raise SystemExit(f"{example.name}: ComfyUI does not know whose weights these are")
    return patcher


def run_comfy(example: Example, patcher: Any) -> Tensor:
    """One forward of ComfyUI's transformer with its patches in its weights."""
    patcher.patch_model()
    found = example.run_comfy(patcher.model.diffusion_model)
    patcher.unpatch_model()
    return found


@torch.inference_mode()
def main() -> None:
    """Check everything, and exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comfyui", type=Path, help="a checkout of ComfyUI")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    version = start_comfyui(options.comfyui)
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    report = Report()
    print(f"ComfyUI {version}, PyTorch {torch.__version__}, CPU, float32")
    print(f"     {'what':<50} keys not loaded, largest relative difference")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        import folder_paths

        folder_paths.models_dir = str(folder)
        folder_paths.folder_names_and_paths["vae"] = ([str(folder / "vae")], {".safetensors"})
        torch.manual_seed(0)
        check_nodes(report, folder)
        for example in TRANSFORMERS:
            check_loras(report, folder, example)
            check_transformers(report, folder, example)
        check_autoencoder(report, folder)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
