"""The GPU check from the command line.

python -m benchmarks.gpu              # all parts, in 8 minutes at most
python -m benchmarks.gpu --quick      # those that tell most, in 4
python -m benchmarks.gpu --tiny       # the same parts with tiny models, on any machine
python -m benchmarks.gpu --only "image sd3 high" --only "decoding sd3"
python -m benchmarks.gpu --resume     # what was not done or not green the last time
"""

import argparse
import sys
from pathlib import Path

from benchmarks.gpu.check import Check
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.report import table

BUDGET, QUICK = 8 * 60, 4 * 60
GREEN = ("ok", "refused")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="fewer parts, in half the time")
    parser.add_argument("--tiny", action="store_true", help="tiny models; the default without GPU")
    parser.add_argument(
        "--only", action="append", metavar="PART", help="this part; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="names of the parts")
    parser.add_argument("--resume", action="store_true", help="keep what is green in --out")
    parser.add_argument("--device", help="cuda, mps, cpu, ...; by default a GPU if there is one")
    parser.add_argument("--budget", type=float, help="seconds in all; no part begins after them")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check"))
    options = parser.parse_args(arguments)
    names = [p.name for p in PARTS if p.quick or not options.quick]
    if options.list:
        print("\n".join(names))
        return 0
    if unknown := set(options.only or ()) - {part.name for part in PARTS}:
        parser.error(f"--only {unknown.pop()}: no such part: --list says which there are")
    names = options.only or names
    tiny = options.tiny or _device_type(options.device) == "cpu"
    usual = float("inf") if tiny else QUICK if options.quick else BUDGET
    check = Check(
        options.out,
        tiny=tiny,
        device=options.device,
        budget=options.budget or usual,
        resume=options.resume,
    )
    result = check.run(names)
    print(table(result))
    print(f"saved {options.out / 'gpu_check.json'}")
    return 0 if all(part["status"] in GREEN for part in result["parts"].values()) else 1


def _device_type(name: str | None) -> str:
    """Kind of the device; this process makes nothing there, which would take its memory."""
    import torch

    from diffusion4k.support.devices import default_device

    return torch.device(name or default_device()).type


if __name__ == "__main__":
    sys.exit(main())
