"""Whole commands of this version against those of an earlier commit, in turn.

    python benchmarks/version_before.py [--before e673978] [--repeats 4]

Sampling, training, measuring and curation of the bundled photographs and their enlargements, each a
fresh process. Seconds of the CPU count, as other programs only add to the clock's; the ratio is the
median over the pairs, this version's by the earlier one's. What a process spends on imports is in
it. Needs a git checkout.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from common import save
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
BEFORE = "e673978"
SIDE, PICTURES = 4096, 4
COMMANDS = {
    "sampling": "generate 'A calm lake at summer night with a pink and lilac sky.' --width 2048 "
    "--height 1536 --out images",
    "training": "train recipes/pocket-wlf.yaml steps=30 schedule.warmup_steps=0 data=pocket "
    "checkpoint.every=30 validation.samples=1 report.pictures=0 cache=cache output=run",
    "measuring": "evaluate pictures --out results.json",
    "curation": "dataset build recipes/pocket-dataset.yaml output=built",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default=BEFORE)
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("src", "recipes"):  # as they are now: somebody may edit them meanwhile
            shutil.copytree(ROOT / part, folder / "now" / part)
        sources = {"now": folder / "now", "before": unpack(options.before, folder / "before")}
        enlarged(folder / "pictures")
        found = {job: compared(job, sources, folder, options.repeats) for job in COMMANDS}
    save("version_before", {"before": options.before, "pictures": PICTURES, "jobs": found})


def unpack(commit: str, folder: Path) -> Path:
    """The files of a commit."""
    packed = subprocess.run(
        ["git", "archive", commit, "src", "recipes"], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def enlarged(folder: Path) -> None:
    """Bundled photographs of 4096x4096 pixels."""
    folder.mkdir()
    bundled = sorted((ROOT / "src/diffusion4k/pocket/photographs").rglob("*.jpg"))[:PICTURES]
    assert len(bundled) == PICTURES
    for path in bundled:
        with Image.open(path) as image:
            ImageOps.fit(image, (SIDE, SIDE)).save(folder / path.name, quality=95)


def compared(job: str, sources: dict[str, Path], folder: Path, repeats: int) -> dict[str, object]:
    """CPU seconds of each run of each version, and the median ratio."""
    runs: dict[str, list[float]] = {version: [] for version in sources}
    for number in range(repeats + 1):  # the first fills caches of files and of compiled kernels
        for version, source in sources.items():
            seconds = cpu_seconds(job, source, folder / f"{job}-{version}", folder / "pictures")
            if number:
                runs[version].append(seconds)
    ratios = [now / before for now, before in zip(runs["now"], runs["before"], strict=True)]
    ratio = statistics.median(ratios)
    medians = {version: statistics.median(each) for version, each in runs.items()}
    spread = max(ratios) - min(ratios)
    print(f"{job:10} {medians['now']:7.2f} s, before {medians['before']:7.2f} s: {ratio:.3f}")
    return {"cpu_seconds": runs, "ratio": round(ratio, 4), "spread": round(spread, 4)}


def cpu_seconds(job: str, source: Path, folder: Path, pictures: Path) -> float:
    """Those of one run, in a folder where nothing but the training's cache is left."""
    kept = folder / "cache"
    for path in folder.glob("*"):
        if path != kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.mkdir(exist_ok=True)
    shutil.copytree(source / "recipes", folder / "recipes")
    (folder / "pictures").symlink_to(pictures)
    code = f"import shlex, sys; sys.argv = ['diffusion4k', *shlex.split({COMMANDS[job]!r})]; "
    code += "from diffusion4k.cli.main import main; main()"
    environment = os.environ | {"PYTHONPATH": str(source / "src")}
    before = os.times()
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
    after = os.times()
    return after.children_user + after.children_system - sum(before[2:4])


if __name__ == "__main__":
    main()
