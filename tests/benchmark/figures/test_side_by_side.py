"""Marks, enlarged patches and captions, found again in the figure's pixels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from diffusion4k.benchmark.figures.canvas import GAP, tag, text_size
from diffusion4k.benchmark.figures.side_by_side import (
    LAST,
    OTHERS,
    Patch,
    complete,
    draw_side_by_side,
    parse_patch,
    same_place,
)
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.match import MatchedRow
from diffusion4k.imagesets.models import ImageSetEntry
from tests.imagesets.conftest import picture


def row(folder: Path, *sizes: tuple[int, int]) -> MatchedRow:
    entries = []
    for number, size in enumerate(sizes):
        path = folder / f"{number}.png"
        picture(*size, number).save(path)
        entries.append(ImageSetEntry(path, path.name, "a lake"))
    return MatchedRow("a lake", tuple(entries))


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


def test_other_sizes_show_the_same_part(tmp_path: Path) -> None:
    made = row(tmp_path, (400, 300), (800, 800))
    figure = np.asarray(
        draw_side_by_side([made], ["a", "b"], patches=[Patch(300, 100, 60)], width=800)
    )
    large = enlarged(figure, LAST)[0]
    factor = large.shape[0] // 60
    # The middle (330, 130) of 400x300 is (660, 346.7) of 800x800, where it is twice as large.
    crop = Image.open(tmp_path / "1.png").crop((600, 287, 720, 407))
    assert np.array_equal(large, crop.resize((60 * factor, 60 * factor), Image.Resampling.NEAREST))


@given(
    st.integers(1, 50),
    st.tuples(st.integers(60, 300), st.integers(60, 300)),
    st.tuples(st.integers(60, 300), st.integers(60, 300)),
    st.data(),
)
def test_same_place(side: int, size: tuple, other: tuple, data: st.DataObject) -> None:
    left, top = (data.draw(st.integers(0, whole - side)) for whole in size)
    box = same_place(Patch(left, top, side), size, other)
    shown = box[2] - box[0]
    assert shown == box[3] - box[1]
    assert abs(shown - side * min(other[0] / size[0], other[1] / size[1])) <= 0.5 or shown == 1
    assert box[0] >= 0 and box[2] <= other[0]
    assert box[1] >= 0 and box[3] <= other[1]
    if size == other:
        assert box == (left, top, left + side, top + side)
    for start, whole, place, there in zip((left, top), size, box, other, strict=False):
        middle = (start + side / 2) / whole
        is_held = place in (0, there - shown)
        assert is_held or abs((place + shown / 2) / there - middle) <= 0.5 / there + 1e-9


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
    with pytest.raises(UsageError, match=r"0.png: 400x300 does not hold the patch 380,0,64"):
        draw_side_by_side([made], ["a", "b"], patches=[Patch(380, 0, 64)], width=900)
    with pytest.raises(UsageError, match="does not fit into"):
        draw_side_by_side([made], ["a", "b"], patches=[Patch(0, 0, 90)] * 6, width=600)
    for text in ("1,2", "a,b,c", "1,2,0", "-1,2,3"):
        with pytest.raises(UsageError, match="--patch"):
            parse_patch(text)
    assert parse_patch("1,2,3") == (1, 2, 3)
    with pytest.raises(Diffusion4kError, match="no prompt for which every folder has an image"):
        complete([MatchedRow("x", (made.entries[0], None))])


def test_tiny_images(tmp_path: Path) -> None:
    figure = draw_side_by_side([row(tmp_path, (20, 30), (40, 16))], ["a", "b"], width=600)
    assert figure.width == 600 and figure.height > 2 * GAP


def test_marks_and_patches_have_their_numbers(tmp_path: Path) -> None:
    made = row(tmp_path, (400, 300), (400, 300))
    patches = [Patch(10, 60, 40), Patch(200, 150, 40)]
    two = np.asarray(draw_side_by_side([made], ["a", "b"], patches=patches, width=1000))
    one = np.asarray(draw_side_by_side([made], ["a", "b"], patches=patches[:1], width=1000))
    label = np.asarray(tag("2", round(0.7 * text_size(1000)), LAST))
    height, width = label.shape[:2]
    for figure, count in ((two, 2), (one, 0)):  # at the mark, and at the patch
        starts = np.argwhere((figure == label[0, 0]).all(axis=2))
        found = [np.array_equal(figure[y : y + height, x : x + width], label) for y, x in starts]
        assert sum(found) == count


def test_automatic_patches_of_a_small_image_are_a_part_of_it(tmp_path: Path) -> None:
    made = row(tmp_path, (256, 256), (1024, 1024))
    figure = np.asarray(draw_side_by_side([made], ["a", "b"], width=2400))
    large = enlarged(figure, LAST)[0]
    assert large.shape[0] % 64 == 0  # a quarter of 256 pixels, by whole pixels
