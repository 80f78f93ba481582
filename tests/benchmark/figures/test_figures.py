"""Text, galleries, variations, what is read in images, and the files they become."""

import re
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from diffusion4k.benchmark.figures.canvas import (
    GAP,
    check_output,
    magnified,
    save_figure,
    text_block,
)
from diffusion4k.benchmark.figures.gallery import draw_gallery
from diffusion4k.benchmark.figures.spelled_text import (
    accuracy,
    find_reader,
    quoted,
    read_entries,
    with_text,
)
from diffusion4k.benchmark.figures.variations import draw_variations, variations_of
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.models import ImageSetEntry
from tests.imagesets.conftest import picture


def entry(
    folder: Path, name: str, size: tuple[int, int], prompt: str = "", seed: int = 0
) -> ImageSetEntry:
    path = folder / f"{name}.png"
    picture(*size, len(name)).save(path)
    return ImageSetEntry(path, path.name, prompt, seed)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=80))
def test_text_of_any_kind_stays_in_its_width(text: str) -> None:
    block = text_block(text, 90, 14)
    assert block.width == 90 and block.height % round(1.35 * 14) == 0


def test_long_words_are_broken_and_nothing_is_lost() -> None:
    one, many = text_block("w" * 5, 200, 14), text_block("w" * 50, 200, 14)
    ink = [(np.asarray(block.convert("L")) < 128).sum() for block in (one, many)]
    assert many.height > one.height
    assert ink[1] == pytest.approx(10 * ink[0], rel=0.02)


def test_files(tmp_path: Path) -> None:
    figure = picture(320, 200, 1)
    for suffix in (".png", ".jpg", ".pdf"):
        paths = [tmp_path / f"{n}{suffix}" for n in (1, 2)]
        for path in paths:
            save_figure(figure, path)
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "1.png")), np.asarray(figure))
    assert np.asarray(figure).tobytes() in streams(tmp_path / "1.pdf")
    for path, width in ((Path("x.gif"), 900), (tmp_path, 900), (Path("x.png"), 20)):
        with pytest.raises(UsageError, match=r"--(out|width) "):
            check_output(path, width)


def streams(pdf: Path) -> bytes:
    """All pixels in a PDF, whose rows each begin with the number of a PNG filter."""
    content, found = pdf.read_bytes(), b""
    for match in re.finditer(rb"/Predictor 10.*?stream\r?\n", content, re.DOTALL):
        data = zlib.decompressobj().decompress(content[match.end() :])
        rows = np.frombuffer(data, np.uint8).reshape(200, -1)
        # Undo the filters as the PNG specification has them; there are no others here.
        pixels = np.zeros((201, rows.shape[1] + 2), np.uint8)
        for number, row in enumerate(rows, 1):
            kind, values = row[0], row[1:]
            for i, value in enumerate(values.tolist()):
                left = int(pixels[number, i])
                up, corner = int(pixels[number - 1, i + 3]), int(pixels[number - 1, i])
                near = min((left, up, corner), key=lambda c: abs(left + up - corner - c))
                add = (0, left, up, (left + up) // 2, near)[kind]
                pixels[number, i + 3] = (value + add) % 256
        found += pixels[1:, 3:].tobytes()
    return found


def test_gallery(tmp_path: Path) -> None:
    entries = [entry(tmp_path, n, (60, 40), "a <b>lake</b>") for n in ("a", "bb", "ccc")]
    entries.append(entry(tmp_path, "tall", (40, 90)))
    figure = draw_gallery(entries, columns=2, width=2 * 60 + 3 * GAP)
    assert figure.width == 2 * 60 + 3 * GAP
    pixels = np.asarray(figure)
    exact = np.asarray(Image.open(tmp_path / "a.png"))
    windows = np.lib.stride_tricks.sliding_window_view(pixels[..., 0], exact.shape[:2])
    assert (windows == exact[..., 0]).all((2, 3)).sum() == 1
    assert draw_gallery(entries[:1], columns=3, width=400).width == 400


def test_variations(tmp_path: Path) -> None:
    entries = [
        entry(tmp_path, "a", (80, 40), "one", 0),
        entry(tmp_path, "b", (40, 80), "one", 1),
        entry(tmp_path, "c", (40, 40), "two", 0),
    ]
    assert variations_of(entries) == [entries[:2]]
    assert draw_variations(variations_of(entries), width=600).width <= 600
    with pytest.raises(Diffusion4kError, match="no prompt has two images"):
        variations_of(entries[1:])


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ('a sign that says "Open Late"', "Open Late"),
        ("“Hello”, said a poster, ‘bye’ a door", "Hello bye"),
        ("a dog's bed in the dogs' room", ""),
        ("the word 'love' in neon", "love"),
        ("no text", ""),
    ],
)
def test_quoted(prompt: str, text: str) -> None:
    assert quoted(prompt) == text


def test_accuracy_by_hand() -> None:
    assert accuracy("Open Late", "open   LATE") == (1, 1)
    assert accuracy("open late", "opan late") == pytest.approx((8 / 9, 0.5))
    assert accuracy("open", "nothing of the kind at all") == (0, 0)
    assert accuracy("kitten", "sitting")[0] == pytest.approx(1 - 3 / 6)
    assert accuracy("open", "") == (0, 0)


@given(st.text("ab ", min_size=1, max_size=7).filter(str.strip), st.text("ab ", max_size=7))
def test_edits_equal_the_definition(wanted: str, read: str) -> None:
    one, other = " ".join(wanted.split()), " ".join(read.split())
    characters = max(0.0, 1 - recursive(one, other) / len(one))
    assert accuracy(wanted, read)[0] == pytest.approx(characters)


def recursive(one: str, other: str) -> int:
    if not one or not other:
        return len(one) + len(other)
    if one[0] == other[0]:
        return recursive(one[1:], other[1:])
    return 1 + min(
        recursive(one[1:], other), recursive(one, other[1:]), recursive(one[1:], other[1:])
    )


def test_reading(tmp_path: Path) -> None:
    sign = entry(tmp_path, "sign", (64, 64), 'a sign "open"')
    assert with_text([sign, entry(tmp_path, "x", (64, 64), "none")]) == [sign]
    reading = read_entries([sign], lambda image: " OPEN \n late")[0]
    assert (reading.read, reading.words) == ("OPEN late", 0)
    assert "read: OPEN late" in str(reading)
    with pytest.raises(Diffusion4kError, match="no prompt asks for text"):
        with_text([entry(tmp_path, "y", (64, 64), "none")])


def test_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader:
        def __init__(self, languages: list[str], **options: object) -> None:
            if options["download_enabled"]:
                raise AssertionError("nothing shall be loaded from the network")

        def readtext(self, image: np.ndarray, detail: int) -> list[str]:
            return ["two", f"{image.shape[1]}"]

    monkeypatch.setitem(sys.modules, "pytesseract", None)
    monkeypatch.setitem(sys.modules, "easyocr", None)
    assert "no OCR engine is installed" in str(find_reader())
    monkeypatch.setitem(sys.modules, "easyocr", types.SimpleNamespace(Reader=Reader))
    reader = find_reader()
    assert callable(reader) and reader(Image.new("RGB", (30, 20))) == "two 30"
    fake = types.SimpleNamespace(
        get_tesseract_version=lambda: "5", image_to_string=lambda image: "one"
    )
    monkeypatch.setitem(sys.modules, "pytesseract", fake)
    reader = find_reader()
    assert callable(reader) and reader(Image.new("RGB", (30, 20))) == "one"

    def missing() -> str:
        raise FileNotFoundError("tesseract is not installed")

    fake.get_tesseract_version = missing
    assert find_reader() is not fake.image_to_string


def test_tesseract_itself() -> None:
    pytest.importorskip("pytesseract")
    reader = find_reader()
    if isinstance(reader, str):
        pytest.skip("no tesseract")
    image = Image.new("RGB", (600, 200), "white")
    ImageDraw.Draw(image).text((60, 60), "OPEN LATE", "black", font_size=80)
    assert accuracy("open late", reader(image))[0] > 0.8


def test_magnified() -> None:
    image = picture(5, 5, 0)
    assert np.array_equal(magnified(image, 15), np.asarray(image).repeat(3, 0).repeat(3, 1))
