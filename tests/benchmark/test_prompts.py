"""Sets of prompts, the bundled one among them."""

from pathlib import Path

import pytest

from diffusion4k.benchmark.prompts import read_prompt_set
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.benchmark.pictures import PROMPTS, fill


def test_the_supplements_captions() -> None:
    found = read_prompt_set("supplement")
    assert len(found.prompts) == 7 + 2 + 7 and found.reference is None
    assert found.prompts[0].startswith("Beautiful, snowy Tokyo city is bustling.")
    assert found.prompts[8] == "A corgi vlogging itself in tropical Maui."
    assert found.prompts[-1] == (
        "A brown dog lies comfortably on a striped bed, resting its head on a pillow and cuddling "
        "a plush pig toy among wrinkled bedding."
    )
    # As printed, with the slips of the pen.
    assert "An extreme close-up of an gray-haired man" in found.prompts[7]
    assert read_prompt_set("supplement", 3).prompts == found.prompts[:3]


def test_an_image_folder_is_reference_as_well(tmp_path: Path) -> None:
    found = read_prompt_set(str(fill(tmp_path / "photographs", 3)))
    assert found.prompts == PROMPTS[:3] and found.reference == tmp_path / "photographs"
    assert found.published_name is None


def test_equal_prompts_are_one(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a lake\na hill\na lake\n")
    found = read_prompt_set(str(tmp_path / "prompts.txt"))
    assert (found.prompts, found.repeated) == (("a lake", "a hill"), 1)
    assert found.fingerprint != read_prompt_set(str(tmp_path / "prompts.txt"), 1).fingerprint


def test_nothing_that_can_be_meant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.txt: no such file: give supplement"):
        read_prompt_set(str(tmp_path / "none.txt"))
    with pytest.raises(UsageError, match=r"no metadata\.jsonl in it"):
        read_prompt_set(str(tmp_path))
    (tmp_path / "bad.jsonl").write_text('{"text": "a lake"}\n{"caption": "a hill"}\n')
    with pytest.raises(Diffusion4kError, match=r"bad\.jsonl:2"):
        read_prompt_set(str(tmp_path / "bad.jsonl"))
