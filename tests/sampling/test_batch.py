"""Runs of many images: resumed, repeated and refused."""

import os
from pathlib import Path

import pytest
from PIL import Image

from diffusion4k.errors import UsageError
from diffusion4k.sampling import Request, Sampler, generate, read_metadata

REQUESTS = [
    Request(prompt, seed, width=64, height=64, steps=1) for prompt in ("a", "b") for seed in (0, 1)
]


def test_prompts_times_seeds(sampler: Sampler, tmp_path: Path) -> None:
    outputs = generate([*REQUESTS, REQUESTS[0]], sampler, out=tmp_path / "new" / "folder")
    assert [(o.settings.prompt, o.settings.seed) for o in outputs] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]
    assert all(output.is_new for output in outputs)
    for output in outputs:
        assert Image.open(output.path).size == (64, 64)
        assert read_metadata(output.path)["seed"] == output.settings.seed


def test_a_stopped_run_goes_on_and_ends_the_same(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generate(REQUESTS, tiny_model, out=tmp_path / "whole", progress=False)
    stopped = Sampler(tiny_model)
    sample = stopped.sample_strips
    calls = iter(range(9))

    def interrupted(*arguments: object, **options: object) -> object:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return sample(*arguments, **options)

    monkeypatch.setattr(stopped, "sample_strips", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(REQUESTS, stopped, out=tmp_path / "parts", progress=False)
    assert len(list((tmp_path / "parts").iterdir())) == 2
    resumed = generate(REQUESTS, tiny_model, out=tmp_path / "parts", progress=False)
    assert [output.is_new for output in resumed] == [False, False, True, True]
    for a, b in zip(whole, resumed, strict=True):
        assert a.path.name == b.path.name
        assert a.path.read_bytes() == b.path.read_bytes()


def test_nothing_is_loaded_when_all_is_there(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(REQUESTS[:1], tiny_model, out=tmp_path, progress=False)
    monkeypatch.setattr(Sampler, "encode", None)
    assert not generate(REQUESTS[:1], tiny_model, out=tmp_path, progress=False)[0].is_new


def test_one_image_to_a_file(sampler: Sampler, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    assert generate(REQUESTS[:1], sampler, out=path)[0].path == path
    assert Image.open(path).format == "JPEG"
    assert not generate(REQUESTS[:1], sampler, out=path)[0].is_new
    assert generate(REQUESTS[1:2], sampler, out=path)[0].is_new
    assert read_metadata(path)["seed"] == 1


def test_foreign_files_are_not_overwritten(sampler: Sampler, tmp_path: Path) -> None:
    path = tmp_path / "holiday.png"
    Image.new("RGB", (8, 8)).save(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="was not made by diffusion4k"):
        generate(REQUESTS[:1], sampler, out=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("out", "image_format", "message"),
    [
        ("image.png", None, "4 images do not fit one file"),
        ("image.webp", None, r"\.webp is not written"),
        ("image.png", "jpeg", "contradicts the format jpeg"),
        ("images", "gif", "format gif: allowed are png, jpeg"),
        ("notes", None, "is a file"),
    ],
)
def test_places_that_cannot_be_meant_are_refused(
    sampler: Sampler, tmp_path: Path, out: str, image_format: str | None, message: str
) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UsageError, match=message):
        generate(REQUESTS, sampler, out=tmp_path / out, image_format=image_format)


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write anywhere")
def test_a_folder_without_permission_is_refused(sampler: Sampler, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="no permission"):
        generate(REQUESTS, sampler, out=tmp_path)


def test_progress_tells_each_file(
    sampler: Sampler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = generate(REQUESTS[:2], sampler, out=tmp_path)
    told = capsys.readouterr()
    assert told.out == ""
    for number, output in enumerate(outputs, start=1):
        assert f"image {number}/2: {output.path}" in told.err
