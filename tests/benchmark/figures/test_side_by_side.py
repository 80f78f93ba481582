"""Marks, enlarged patches and captions, found again in the figure's pixels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from diffusion4k.benchmark.figures.canvas import GAP
from diffusion4k.benchmark.figures.side_by_side import (
    LAST,
    OTHERS,
    Patch,
    complete,
    draw_side_by_side,
    parse_patch,
    same_place,
)
from diffusion4k.compare.models import Entry
from diffusion4k.compare.rows import Row
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.compare.conftest import picture


def row(folder: Path, *sizes: tuple[int, int]) -> Row:
    entries = []
    for number, size in enumerate(sizes):
        path = folder / f"{number}.png"
        picture(*size, number).save(path)
        entries.append(Entry(path, path.name, "a lake"))
    return Row("a lake", tuple(entries))


def enlarged(figure: np.ndarray, colour: str) -> list[np.ndarray]:
    """What stands in frames of that colour, largest first: the insides of their boxes."""
    found = []
    like = (figure == ImageColor.getrgb(colour)).all(-1)
    seen = np.zeros_like(like)
    for top, left in np.argwhere(like):
        if seen[top, left] or (top and like[top - 1, left]) or (left and like[top, left - 1]):
            continue
        right = left + int(np.argmin(like[top, left:]))
        bottom = top + int(np.argmin(like[top:, left]))
        seen[top:bottom, left:right] = True
        line = int(np.argmin(np.diagonal(like[top:, left:])))
        found.append(figure[top + line : bottom - line, left + line : right - line])
    return sorted(found, key=lambda box: -box.size)


def test_given_patches_are_their_own_pixels(tmp_path: Path) -> None:
    made = row(tmp_path, (400, 300), (400, 300), (400, 300))
    patches = [Patch(10, 20, 40), Patch(200, 150, 40)]
    figure = draw_side_by_side([made], ["a", "b", "c"], patches=patches, width=1000)
    assert figure.width == 1000
    pixels = np.asarray(figure)
    for colour, numbers in ((OTHERS, (0, 1)), (LAST, (2,))):
        boxes = [box for box in enlarged(pixels, colour) if box.shape[0] >= 80]
        wanted = [
            np.asarray(Image.open(tmp_path / f"{n}.png").crop((x, y, x + s, y + s)))
            for n in numbers
            for x, y, s in patches
        ]
        assert len(boxes) == len(wanted)
        for crop in wanted:
            factor = boxes[0].shape[0] // 40
            assert factor >= 2
            large = crop.repeat(factor, 0).repeat(factor, 1)
            assert any(np.array_equal(large, box) for box in boxes)


def test_other_sizes_have_the_same_relative_place_and_pixels(tmp_path: Path) -> None:
    made = row(tmp_path, (400, 300), (800, 800))
    figure = np.asarray(
        draw_side_by_side([made], ["a", "b"], patches=[Patch(300, 100, 60)], width=800)
    )
    large = enlarged(figure, LAST)[0]
    factor = large.shape[0] // 60
    # The middle (330, 130) of 400x300 is (660, 346.7) of 800x800.
    crop = np.asarray(Image.open(tmp_path / "1.png").crop((630, 317, 690, 377)))
    assert np.array_equal(large, crop.repeat(factor, 0).repeat(factor, 1))


@given(
    st.integers(1, 50),
    st.tuples(st.integers(60, 300), st.integers(60, 300)),
    st.tuples(st.integers(60, 300), st.integers(60, 300)),
    st.data(),
)
def test_same_place(side: int, size: tuple, other: tuple, data: st.DataObject) -> None:
    left, top = (data.draw(st.integers(0, whole - side)) for whole in size)
    box = same_place(Patch(left, top, side), size, other)
    assert box[0] >= 0 and box[2] <= other[0] and box[2] - box[0] == side
    assert box[1] >= 0 and box[3] <= other[1] and box[3] - box[1] == side
    if size == other:
        assert box[:2] == (left, top)
    for start, whole, place, there in zip((left, top), size, box, other, strict=False):
        middle = (start + side / 2) / whole
        is_held = place in (0, there - side)
        assert is_held or abs((place + side / 2) / there - middle) <= 0.5 / there + 1e-9


def test_automatic_patches_show_detail(tmp_path: Path) -> None:
    made = row(tmp_path, (640, 640), (640, 640))
    for number in range(2):
        flat = Image.new("RGB", (640, 640), "gray")
        textured = picture(40, 128, number).resize((192, 192), Image.Resampling.BICUBIC)
        flat.paste(textured, (384, 64))
        flat.save(tmp_path / f"{number}.png")
    figure = np.asarray(draw_side_by_side([made], ["a", "b"], width=1000))
    box = enlarged(figure, LAST)[:2]
    assert max(patch.std() for patch in box) > 10
    again = draw_side_by_side([made], ["a", "b"], width=1000)
    assert np.array_equal(figure, np.asarray(again))


def test_what_is_refused(tmp_path: Path) -> None:
    made = row(tmp_path, (400, 300), (100, 90))
    for patch, message in (
        (Patch(380, 0, 64), r"0.png: 400x300 does not hold the patch 380,0,64"),
        (Patch(0, 0, 95), r"1.png: 100x90 does not hold"),
    ):
        with pytest.raises(UsageError, match=message):
            draw_side_by_side([made], ["a", "b"], patches=[patch], width=900)
    with pytest.raises(UsageError, match="does not fit into"):
        draw_side_by_side([made], ["a", "b"], patches=[Patch(0, 0, 90)] * 6, width=600)
    for text in ("1,2", "a,b,c", "1,2,0", "-1,2,3"):
        with pytest.raises(UsageError, match="--patch"):
            parse_patch(text)
    assert parse_patch("1,2,3") == (1, 2, 3)
    with pytest.raises(Diffusion4kError, match="no prompt of which every folder has an image"):
        complete([Row("x", (made.entries[0], None))], 3)


def test_tiny_images(tmp_path: Path) -> None:
    figure = draw_side_by_side([row(tmp_path, (20, 30), (40, 16))], ["a", "b"], width=600)
    assert figure.width == 600 and figure.height > 2 * GAP
