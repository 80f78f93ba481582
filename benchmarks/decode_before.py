"""The lean decode as it is against that of an earlier commit, on the CPU.

    python benchmarks/decode_before.py [--before 92f0a50^] [--size 640] [--repeats 7]

Both in turn, each in a process of its own that stays, with the same random weights of Stable
Diffusion 3's size. The default is the commit before the statistics on a GPU became one kernel a
strip, which was to cost the CPU nothing. Needs a git checkout.
"""

import argparse
import statistics
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

from common import compare, save
from workers import Worker, serve

ROOT = Path(__file__).parents[1]
BEFORE = "92f0a50^"
LARGEST = 1.03
CHANNELS = {"sd3": (128, 256, 512, 512), "tiny": (32, 32, 32, 32)}


def work(source: Path, model: str, size: int) -> None:
    """In a worker: decode the same latents again with each line; the answer is the mean pixel."""
    import torch
    from diffusers import AutoencoderKL

    import diffusion4k
    from diffusion4k.vae import PartitionedAutoencoderKL, lean_decode

    assert Path(diffusion4k.__file__).is_relative_to(source)
    torch.manual_seed(0)
    stock = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=CHANNELS[model],
        layers_per_block=2,
        norm_num_groups=32,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    autoencoder = PartitionedAutoencoderKL.from_autoencoder(stock).eval()
    latents = torch.randn(1, 16, size // 16, size // 16)

    @torch.inference_mode()
    def decode(_: str) -> str:
        return f"{lean_decode(autoencoder, latents).double().mean().item():.9f}"

    serve(decode)


def unpack(commit: str, folder: Path) -> Path:
    """The package's source of a commit."""
    archive = ["git", "-C", str(ROOT), "archive", commit, "src"]
    content = subprocess.run(archive, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


def main() -> None:
    """Decode with both in turn, print the ratio and save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", default=BEFORE, help="a commit")
    parser.add_argument("--model", choices=CHANNELS, default="sd3")
    parser.add_argument("--size", type=int, default=640, help="side of the image")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.model, options.size)
        return
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        sources = {"now": ROOT / "src", "before": unpack(options.before, Path(place))}
        arguments = ["--model", options.model, "--size", str(options.size)]
        workers = {
            name: stack.enter_context(
                Worker([__file__, *arguments, "--work", source], {"PYTHONPATH": str(source)})
            )
            for name, source in sources.items()
        }
        for worker in workers.values():
            assert worker.answer() == "ready"
        answers: dict[str, str] = {}

        def decode(name: str) -> None:
            workers[name].ask("")
            answers[name] = workers[name].answer()

        result = compare(lambda: decode("now"), lambda: decode("before"), options.repeats)
    if answers["now"] != answers["before"]:
        sys.exit(f"the pictures differ: {answers}")
    # Both of a pair share what else the machine did.
    pairs = zip(result.ours, result.reference, strict=True)
    share = statistics.median(now / before for now, before in pairs)
    print(f"a decode at {options.size}x{options.size}, now against {options.before}: {result}")
    print(f"now takes {share:.3f} of the time before; target at most {LARGEST}")
    kept = {"model": options.model, "size": options.size, "before": options.before}
    save("decode_before", kept | {"decode": result, "share": round(share, 4)})


if __name__ == "__main__":
    main()
