"""Whose word counts about an image: the row beside it, or the record in its file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.errors import Diffusion4kError
from diffusion4k.imagesets.provenance import prompt_and_seed, rows_of
from diffusion4k.sampling.files import write_image
from diffusion4k.sampling.request import SamplingSettings


def found(folder: Path, name: str) -> tuple[str, int | None]:
    return prompt_and_seed(folder / name, rows_of(folder).get(folder / name))


def note(folder: Path, **row: object) -> None:
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "made.png", **row}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With `made.png`, whose record says "a lake" and seed 5, and `strange.png` without one."""
    settings = SamplingSettings("a lake", "", 5, 1, 1.0, 32, 32, "model", "fingerprint", "float32")
    write_image([np.zeros((32, 32, 3), np.uint8)], tmp_path / "made.png", settings)
    Image.new("RGB", (32, 32)).save(tmp_path / "strange.png")
    return tmp_path


def test_the_record_where_nobody_wrote_anything(folder: Path) -> None:
    assert found(folder, "made.png") == ("a lake", 5)
    assert found(folder, "strange.png") == ("", None)
    assert found(folder, "missing.png") == ("", None)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "a lake"}, ("a lake", 5)),
        ({"text": "a hill"}, ("a hill", None)),
        ({"text": "a hill", "seed": 7}, ("a hill", 7)),
        ({"text": "a lake", "seed": 7}, ("a lake", 7)),
        ({"text": ""}, ("a lake", 5)),
        ({"text": "", "seed": 7}, ("a lake", 7)),
        ({"text": "a lake", "seed": "seven"}, ("a lake", 5)),
    ],
)
def test_what_somebody_wrote_counts_more(
    row: dict[str, object], expected: tuple[str, int | None], folder: Path
) -> None:
    note(folder, **row)
    assert found(folder, "made.png") == expected


def test_names_are_brought_to_one_form(folder: Path) -> None:
    note(folder, file_name="./sub/../strange.png", text="a hill", seed=1)
    assert found(folder, "strange.png") == ("a hill", 1)


def test_a_bad_row_is_named(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text('{"text": "a lake"}')
    with pytest.raises(Diffusion4kError, match=r"metadata\.jsonl:1: "):
        rows_of(folder)
