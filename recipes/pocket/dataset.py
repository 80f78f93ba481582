"""Builds the pocket model's training set: pictures from Debian's wallpaper packages.

    python recipes/pocket/dataset.py --out runs/pocket/dataset

The packages are fetched with `apt-get download` and unpacked beside the data set; no root is
needed and nothing is installed. The result is an image folder with `metadata.jsonl`; the captions
are ours (`captions.jsonl`), the pictures keep their authors' licences.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

CAPTIONS = Path(__file__).with_name("captions.jsonl")


def read_captions() -> list[dict[str, str]]:
    """Rows of `captions.jsonl`: package, file, text, and `vae_split` for held-out pictures."""
    return [json.loads(line) for line in CAPTIONS.read_text().splitlines()]


def picture_name(row: dict[str, str]) -> str:
    """A unique flat file name for a picture of a package."""
    parts = (
        Path(row["file"]).parts[-4:] if "contents" in row["file"] else Path(row["file"]).parts[-1:]
    )
    kept = [part for part in parts if part not in ("contents", "images")]
    return "-".join([row["package"].split("-")[0], *kept]).lower()


def write_metadata(folder: Path, rows: list[dict[str, str]]) -> None:
    lines = [json.dumps({"file_name": picture_name(row), "text": row["text"]}) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def build(out: Path) -> None:
    packages = out.parent / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    rows = read_captions()
    for package in sorted({row["package"] for row in rows}):
        if (packages / package).exists():
            continue
        subprocess.run(["apt-get", "download", package], cwd=packages, check=True)
        archive = next(packages.glob(f"{package}_*.deb"))
        subprocess.run(
            ["dpkg-deb", "-x", archive.name, package + ".part"], cwd=packages, check=True
        )
        (packages / f"{package}.part").rename(packages / package)
    out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        shutil.copyfile(packages / row["package"] / row["file"], out / picture_name(row))
    write_metadata(out, rows)
    held_out = out.with_name("held_out")
    held_out.mkdir(exist_ok=True)
    for row in rows:
        if row.get("vae_split") == "held-out":
            shutil.copyfile(out / picture_name(row), held_out / picture_name(row))
    write_metadata(held_out, [row for row in rows if row.get("vae_split") == "held-out"])
    print(f"{len(rows)} pictures in {out}, those no autoencoder is trained on in {held_out} too")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/pocket/dataset"))
    build(parser.parse_args().out)
