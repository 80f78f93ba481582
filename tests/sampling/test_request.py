"""Requests: completed by defaults, refused with the allowed values."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.sd3 import StableDiffusion3
from diffusion4k.models.published import write_configurations
from diffusion4k.sampling import Request, SamplingSettings, read_prompts
from diffusion4k.sampling.request import settle
from diffusion4k.sampling.sizes import check_size


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configurations of Stable Diffusion 3 Medium: a table of 192 tokens a side."""
    folder = tmp_path_factory.mktemp("sd3")
    write_configurations("stabilityai/stable-diffusion-3-medium-diffusers", folder)
    return folder


def _settle(model: Path, **fields: Any) -> SamplingSettings:
    return settle(
        Request(**{"prompt": "a cat", **fields}),
        StableDiffusion3(),
        model,
        model="m",
        model_fingerprint="f",
        dtype="float32",
    )


def test_defaults_fill_what_is_not_asked_for(sd3: Path) -> None:
    settings = _settle(sd3, width=2048, guidance=0)
    assert (settings.width, settings.height, settings.steps) == (2048, 4096, 28)
    assert settings.guidance == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "a\0b"}, "control character"),
        ({"prompt": "\udc80"}, "not valid UTF-8"),
        ({"prompt": "a" * 6501}, "6501 characters: allowed are 6500"),
        ({"seed": -1}, "seed -1: allowed is 0 to"),
        ({"steps": 0}, "steps 0: allowed is 1 to 1000"),
        ({"guidance": float("nan")}, "guidance nan: allowed"),
        ({"guidance": -1.0}, r"guidance -1\.0: allowed"),
        ({"guidance": 1.0, "negative_prompt": "blur"}, "no effect with guidance 1"),
        ({"width": 1000}, "width 1000: not a multiple of 32; the nearest: 992 or 1024"),
        ({"height": 6145}, "height 6145: too large .* 6144x6144"),
        ({"height": 0}, "height 0: too small, the smallest is 32"),
        ({"width": -32}, "width -32: too small"),
    ],
)
def test_values_out_of_range_are_refused(sd3: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        _settle(sd3, **fields)
    assert caught.value.exit_code == 2


@given(st.integers(-100, 7000), st.sampled_from([16, 32, 64]), st.sampled_from([2048, 6144]))
def test_sizes_named_as_nearest_are_allowed(side: int, step: int, largest: int) -> None:
    try:
        check_size(side, step, size_step=step, max_side=largest)
        assert side % step == 0 and step <= side <= largest
    except UsageError as error:
        named = str(error).rpartition("nearest: ")[2]
        if named != str(error):
            for nearest in map(int, named.split(" or ")):
                assert abs(nearest - side) < step
                check_size(nearest, step, size_step=step, max_side=largest)


def test_prompts_of_text_and_jsonl(tmp_path: Path) -> None:
    text = tmp_path / "p.txt"
    text.write_text("\ufeffa cat\n\n  ein Hündchen \n", encoding="utf-8")
    assert read_prompts(text) == ["a cat", "ein Hündchen"]
    lines = tmp_path / "p.jsonl"
    lines.write_text('{"text": "a cat", "file_name": "1.jpg"}\n\n{"prompt": "a dog"}\n')
    assert read_prompts(lines) == ["a cat", "a dog"]


def test_of_prompts_in_jsonl_the_text_alone_counts(tmp_path: Path) -> None:
    lines = tmp_path / "p.jsonl"
    lines.write_text('{"text": "a cat", "height": 512.0, "width": "wide", "seed": -1}\n')
    assert read_prompts(lines) == ["a cat"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", b"a", r"is \.txt .* or \.jsonl"),
        ("p.txt", b"\n \n", "no prompt in it"),
        ("p.txt", b"\xffa", "not UTF-8"),
        ("p.jsonl", b'{"text": "a"}\n{', r"p\.jsonl:2: not valid JSON"),
        ("p.jsonl", b'{"text": 3}', r"p\.jsonl:1: expected"),
        ("p.jsonl", b"[]", r"p\.jsonl:1: expected"),
    ],
)
def test_broken_prompt_files_are_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Diffusion4kError, match=message):
        read_prompts(tmp_path / name)


def test_an_absent_prompts_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_prompts(tmp_path / "p.txt")
