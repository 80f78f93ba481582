"""The node that decodes in strips beside ComfyUI's plain decode: error and peak memory.

    python benchmarks/comfyui_decode.py                       # stand-ins of ComfyUI's modules
    python benchmarks/comfyui_decode.py --comfyui PATH        # ComfyUI itself, a checkout of it
    python benchmarks/comfyui_decode.py --side 1024 --memory-gib 0.5
    python benchmarks/comfyui_decode.py --comfyui PATH --count    # the plain decode, in seconds

The autoencoder has the size of SD3's (F=8, float32) and random weights. Each decode runs in a fresh
process; its peak is the operating system's figure for that process, libraries and weights included.
ComfyUI is run on the CPU with PyTorch's attention, which takes less memory than its own there.
`--count` computes nothing: it adds up the tensors that the plain decode holds at once, and its peak
is above that.
"""

import argparse
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comfyui_stand_in import LdmAutoencoder, StandInVae, install_stand_ins
from common import GIB, peak_memory, resident_memory, save, seconds
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = Path(__file__).parents[1]


def vae_of(comfyui: Path | None) -> Any:
    """ComfyUI's `VAE` or the stand-in, with the same random weights."""
    torch.manual_seed(0)
    autoencoder = LdmAutoencoder()
    for part in autoencoder.modules():
        if isinstance(part, torch.nn.GroupNorm):  # norms that do something
            torch.nn.init.normal_(part.weight, 1, 0.1)
            torch.nn.init.normal_(part.bias, 0, 0.1)
    if comfyui is None:
        install_stand_ins()
        return StandInVae(autoencoder)
    from integrations.comfyui.comfyui_process import start_comfyui

    start_comfyui(comfyui)
    import comfy.sd

    return comfy.sd.VAE(sd=autoencoder.state_dict(), dtype=torch.float32)


@torch.inference_mode()
def decode(vae: Any, way: str, side: int, memory_gib: float, out: str) -> None:
    """Decode one random latent; print the memory before it and its seconds, and keep the image."""
    latents = torch.randn(1, 16, side // 8, side // 8, generator=torch.Generator().manual_seed(1))
    images = []
    if way == "plain":
        idle = resident_memory()
        elapsed = seconds(lambda: images.append(vae.decode(latents)))
    else:
        import diffusion4k.vae.ldm  # noqa: F401  (in seconds, which are not the decode's)
        from integrations.comfyui import NODE_CLASS_MAPPINGS

        node = NODE_CLASS_MAPPINGS["Diffusion4KDecodeInStrips"]()
        samples = {"samples": latents}
        idle = resident_memory()
        elapsed = seconds(lambda: images.extend(node.run(samples, vae, "as loaded", memory_gib)))
    np.save(out, images[0].numpy())
    print(idle, elapsed)


class HeldTensors(TorchDispatchMode):
    """Counts the bytes of tensors that operations make and somebody still holds."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in filter(torch.is_tensor, tree_leaves(made)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.storages:
                self.storages[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.storages.pop, storage._cdata)
        self.peak = max(self.peak, sum(self.storages.values()))
        return made


@torch.inference_mode()
def counted(vae: Any, side: int) -> float:
    """GiB of tensors that the plain decode makes and holds at once, without computing them."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        latents = torch.randn(1, 16, side // 8, side // 8)
        with HeldTensors() as held:
            vae.first_stage_model.decode(latents)
    return held.peak / GIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comfyui", type=Path, help="a checkout of ComfyUI")
    parser.add_argument("--side", type=int, default=2048, help="side of the image")
    parser.add_argument("--memory-gib", type=float, default=1.0, help="of the node")
    parser.add_argument("--only", nargs=2, help="decode once, 'plain' or 'strips', to this file")
    parser.add_argument("--count", action="store_true", help="count the plain decode's tensors")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.count:
        gib = counted(vae_of(options.comfyui), options.side)
        print(f"a plain decode to {options.side} pixels a side holds {gib:.2f} GiB of tensors")
        return
    if options.only:
        way, out = options.only
        decode(vae_of(options.comfyui), way, options.side, options.memory_gib, out)
        return
    arguments = ["--side", options.side, "--memory-gib", options.memory_gib]
    arguments += ["--comfyui", options.comfyui] if options.comfyui else []
    result: dict[str, Any] = {"side": options.side, "memory_gib": options.memory_gib}
    images = []
    with tempfile.TemporaryDirectory() as folder:
        for way in ("strips", "plain"):
            out = Path(folder) / f"{way}.npy"
            peak, output = peak_memory([__file__, *arguments, "--only", way, out])
            idle, elapsed = map(float, output.splitlines()[-1].split())
            result[way] = {"peak_gib": round(peak, 2), "idle_gib": round(idle, 2)}
            result[way]["seconds"] = round(elapsed, 1)
            print(f"{way}: peak {peak:.2f} GiB (idle {idle:.2f}), {elapsed:.1f} s", flush=True)
            images.append(np.load(out))
    result["largest_error"] = float(np.abs(images[0] - images[1]).max())
    result["peak_share"] = round(result["strips"]["peak_gib"] / result["plain"]["peak_gib"], 3)
    print(f"largest error {result['largest_error']:.1e} (of values in [0, 1])")
    print(f"the node's peak is {result['peak_share']:.1%} of the plain decode's")
    kind = "comfyui" if options.comfyui else "stand_in"
    save(f"comfyui_decode_{kind}_{options.side}", result)


if __name__ == "__main__":
    main()
