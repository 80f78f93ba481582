"""Recipes of any shape end in one line, in bounded time and memory."""

import os
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from diffusion4k.config.read import read_config
from diffusion4k.config.types import Count, Output, Pixels, Section, Text
from diffusion4k.errors import UsageError
from diffusion4k.vae.lean import parse_memory

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


class Recipe(Section):
    """What a recipe may say here."""

    name: Text = "name"
    steps: Count = 1
    side: Pixels = 64
    output: Output = Path("out")
    rank: Annotated[Count, Field(le=16)] = 4


def read(path: Path, *overrides: str) -> Recipe:
    return read_config(path, list(overrides), Recipe)


VALUES = [
    *("2024-13-45", "0x_", "0b_", '!!int ""', "!!float abc", "!!bool abc", "!!timestamp x"),
    *("9" * 5000, "[" * 10_000, "{a: " * 10_000, "!!python/object:os.system x", "&a [*a]"),
    *('"a\\0b"', '"\\ud800"', "{[a]: b}", "{{a: b}: c}", "? [a]\n: b", "*absent"),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_values_that_make_no_sense(tmp_path: Path, value: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: {value}\n")
    for refused in (lambda: read(path), lambda: read(_empty(tmp_path), f"name={value}")):
        with pytest.raises(UsageError) as error:
            refused()
        assert len(str(error.value)) < 700 and "\n" not in str(error.value)


def _empty(folder: Path) -> Path:
    path = folder / "empty.yaml"
    path.write_text("{}")
    return path


@pytest.mark.parametrize("text", ["[a]: b", "? {a: b}\n: c", LAUGHS])
def test_keys_that_are_none_and_a_billion_laughs(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"recipe\.yaml"):
        read(path)


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large.yaml").write_bytes(b"# " + b"x" * (1 << 20))
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero"), tmp_path / "large.yaml"):
        with pytest.raises(UsageError, match=str(path)):
            read(path)


@pytest.mark.parametrize(
    "override",
    [
        *(f"steps={value}" for value in ("1" + "0" * 400, "-1", "1e3", "yes")),
        *("side=102400000000", "rank=1000000000000"),
        *('output=""', "output=", "output=/dev/null", "a" * 1000),
    ],
)
def test_overrides_of_any_size(tmp_path: Path, override: str) -> None:
    with pytest.raises(UsageError) as error:
        read(_empty(tmp_path), override)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("size", ["9" * 400, "9" * 400 + "GiB", "0", 1 << 61, -1, "x" * 1000])
def test_sizes_of_memory(size: str | int) -> None:
    with pytest.raises(UsageError) as error:
        parse_memory(size)
    assert len(str(error.value)) < 200
