"""Time and memory of `lora inspect` and `lora convert` of a LoRA of all of FLUX.1's layers.

python -m benchmarks.lora_inspect [--rank 16] [--convert]

The file is made at random: float32, diffusers' layout, each linear layer of the blocks. Time is
that of the whole command in a process of its own, memory the most that was resident.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from diffusion4k.lora.layouts import layouts
from diffusion4k.models.published import build_published
from diffusion4k.original_names import original_names

__all__ = ["random_flux_lora"]

MODEL = "black-forest-labs/FLUX.1-dev"
_PROGRAM = """
import atexit, sys
from pathlib import Path
from diffusion4k.cli.main import main

status = Path("/proc/self/status")
atexit.register(lambda: print(status.read_text().split("VmHWM:")[1].split()[0], file=sys.stderr))
main()
"""


def random_flux_lora(path: Path, rank: int) -> Path:
    """A LoRA of all linear layers in FLUX.1's blocks, by diffusers' names; the path."""
    torch.manual_seed(0)
    tensors = {}
    for name, part in build_published(MODEL, "transformer").named_modules():
        if isinstance(part, torch.nn.Linear) and "transformer_blocks" in name:
            assert original_names()["flux"].find(name)
            a = torch.randn(rank, part.in_features) / rank
            b = torch.randn(part.out_features, rank) / rank
            for end, tensor in (("lora_A.weight", a), ("lora_B.weight", b)):
                tensors[layouts()["diffusers"].key(name, end)] = tensor
    save_file(tensors, path)
    return path


def measured(*command: str) -> tuple[float, float]:
    """Seconds and MiB of a command in a process of its own."""
    start = time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *command], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - start, int(told.stderr.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--convert", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = random_flux_lora(Path(folder, "flux.safetensors"), arguments.rank)
        print(f"{path.stat().st_size / 1e6:.0f} MB")
        seconds, memory = measured("lora", "inspect", str(path))
        print(f"inspect: {seconds:.2f} s, {memory:.0f} MiB")
        if arguments.convert:
            out = str(Path(folder, "out.safetensors"))
            seconds, memory = measured("lora", "convert", str(path), out, "--layout", "comfyui")
            print(f"convert: {seconds:.1f} s, {memory:.0f} MiB")


if __name__ == "__main__":
    main()
