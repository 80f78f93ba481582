"""Datasets with one good picture, to which tests add what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion4k.curation.verify.report import Report
from diffusion4k.curation.verify.verify import verify_dataset
from tests.data.fake import save_picture

Add = Callable[..., Path]


def add(folder: Path, name: str, text: str | None = None, *, seed: int = 0) -> Path:
    """A picture of 90x80 pixels in the folder, with a line if it has a caption."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(path, (90, 80), seed=seed)
    if text is not None:
        add_line(folder, name, text)
    return path


def add_line(folder: Path, name: str, text: str) -> None:
    add_bytes(folder, json.dumps({"file_name": name, "text": text}).encode() + b"\n")


def add_bytes(folder: Path, content: bytes) -> None:
    with (folder / "metadata.jsonl").open("ab") as handle:
        handle.write(content)


def verify(folder: Path, **settings: int) -> Report:
    return verify_dataset(folder, progress=False, **settings)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An image folder with one good picture."""
    folder = tmp_path / "dataset"
    add(folder, "good.png", "A good one.", seed=99)
    return folder
