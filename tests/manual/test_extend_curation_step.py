"""`docs/extend-curation-step.md`: its function is a step of a build, with a column and a reason."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.curation.conftest import LENIENT, picture
from tests.manual.pages import run_command, write_modules

PAGE = "extend-curation-step.md"


def test_the_page_s_function_is_a_step(place: Path) -> None:
    write_modules(PAGE, place)
    folder = place / "photographs"
    folder.mkdir()
    picture(0).convert("L").convert("RGB").save(folder / "grey.png")
    halves = np.zeros((64, 96, 3), np.uint8)
    halves[:, :48, 0] = halves[:, 48:, 2] = 255
    Image.fromarray(halves).save(folder / "halves.png")
    run_command(
        PAGE,
        "sources=[{path: photographs}]",
        "header={min_shorter_side: 32}",
        f"thresholds={json.dumps(LENIENT)}",
        "split={share: 0}",
    )
    rows = pq.read_table(place / "colourful" / "manifest.parquet").to_pylist()
    found = {row["source"].rsplit("/", 1)[-1]: row for row in rows}
    grey, halves_row = found["grey.png"], found["halves.png"]
    assert grey["colourfulness"] == 0 and not grey["kept"]
    assert grey["step"] == "colourfulness"
    assert grey["reason"] == "colourfulness: 0, allowed at least 15"
    # Red and blue in equal parts: R - G is 255 or 0, (R + G) / 2 - B is 127.5 or -255.
    expected = np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, 63.75)
    assert halves_row["colourfulness"] == pytest.approx(expected) and halves_row["kept"]
