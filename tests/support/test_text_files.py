"""What people's programs write: lines and tables, against Python's own encoders and writer."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffusion4k.benchmark.ratings import read_ratings
from diffusion4k.compare.numbers import read_results
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.models import Model
from diffusion4k.preference.answers import COLUMNS, read_answers
from diffusion4k.sampling.request import read_prompts
from diffusion4k.support.text_files import (
    as_cell,
    json_of,
    lines_of,
    printable,
    read_table,
    read_text,
)

PROMPTS = ["A lake\u2028at dawn.", "A field\u2029of wheat.", "A tower\u0085by night.", "A\x1clake."]
SEPARATORS = [",", ";", "\t"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_ends_with_line_feed_and_carriage_return_only(end: str) -> None:
    assert lines_of(end.join(PROMPTS)) == PROMPTS


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_prompts(tmp_path: Path, end: str, encoding: str) -> None:
    plain, objects = tmp_path / "prompts.txt", tmp_path / "metadata.JSONL"
    *prompts, odd = PROMPTS
    plain.write_bytes(end.join([*prompts, ""]).encode(encoding))
    rows = [json.dumps({"text": prompt}, ensure_ascii=False) for prompt in prompts]
    objects.write_bytes(end.join([*rows, ""]).encode(encoding))
    assert read_prompts(plain) == prompts
    assert read_prompts(objects) == prompts
    plain.write_bytes(end.join([*prompts, odd]).encode(encoding))
    with pytest.raises(UsageError, match=r"prompts.txt:4 holds the control character"):
        read_prompts(plain)


def test_a_page_break_in_a_prompt_is_a_blank(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("A page\x0cbreak.\n\x0c\nA second.\n")
    assert read_prompts(tmp_path / "prompts.txt") == ["A page break.", "A second."]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    cells=st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=4,
    ),
    separator=st.sampled_from(SEPARATORS),
    encoding=st.sampled_from(ENCODINGS),
)
def test_any_table_of_pythons_writer(
    tmp_path: Path, cells: list[list[str]], separator: str, encoding: str
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator).writerows([["image", "rating"], *cells])
    (tmp_path / "a.csv").write_bytes(buffer.getvalue().encode(encoding))
    table = read_table(tmp_path / "a.csv")
    assert table.columns == ("image", "rating")
    filled = [tuple(row) for row in cells if any(cell.strip() for cell in row)]
    assert [row for _, row in table.rows] == filled


def test_numbers_of_lines_and_a_separator_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('sep=;\na;b,c\n\n1;"two\nlines"\n3;4\n')
    table = read_table(tmp_path / "a.csv")
    assert table.columns == ("a", "b,c")
    assert table.rows == ((5, ("1", "two\nlines")), (6, ("3", "4")))
    assert table.records() == [{"a": "1", "b,c": "two\nlines"}, {"a": "3", "b,c": "4"}]
    (tmp_path / "empty.csv").touch()
    assert read_table(tmp_path / "empty.csv").columns == ()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("image;Süß\n".encode("latin-1"))
    (tmp_path / "long.csv").write_text("image,rating\n" + "x" * 200_000 + ",1\n")
    for name, reason in (
        ("latin.csv", "not UTF-8"),
        ("long.csv", "not a CSV"),
        ("absent.csv", "cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
    ):
        with pytest.raises((Diffusion4kError, UsageError), match=reason) as refused:
            read_table(tmp_path / name)
        assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="absent"):
        read_text(tmp_path / "absent")


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_reader_of_tables_reads_what_spreadsheets_write(
    tmp_path: Path, separator: str, encoding: str
) -> None:
    def save(name: str, rows: list[list[str]]) -> Path:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, delimiter=separator).writerows(rows)
        (tmp_path / name).write_bytes(buffer.getvalue().encode(encoding))
        return tmp_path / name

    images = [["Image", "rating", "note"]]
    images += [[f"{n}.png", f"{n},5", "first\u2028second"] for n in (1, 2)]
    ratings = read_ratings(save("ratings.CSV", images))
    assert ratings.table.tolist() == [[1.5, 2.5]]

    answer = dict.fromkeys(COLUMNS, "x") | {
        "question": "fine_details",
        "choice": "tie",
        "pair_seconds": "2.5",
        "passed": "",
        "flags": "",
        "first": "x",
        "check": "identical",
        "at": "2026-01-01T00:00:00+00:00",
    }
    answers = read_answers(save("answers.CSV", [list(answer), list(answer.values())]))
    assert [found.pair_seconds for found in answers] == [2.5]

    results = save("images.CSV", [["row", "image", "glcm_score"], ["ours", "a.png", "0.5"]])
    numbers = read_results([f"ours={results}"], [Model("ours", tmp_path, ())])
    assert list(numbers["ours"]) == ["a.png"]


@given(st.text(alphabet="'=+-@\t a1", max_size=6))
def test_no_cell_is_a_formula_and_each_is_read_as_it_was(tmp_path_factory, text: str) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    written = as_cell(text)
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r"))
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([["a", "b"], [written, "x"]])
    assert read_table(path).rows[0][1] == (text, "x")


def test_numbers_in_cells_stay_numbers() -> None:
    assert [as_cell(value) for value in (-0.5, 3, None)] == [-0.5, 3, None]


def test_what_people_type_has_no_control_characters() -> None:
    assert printable("a\0b\x1b[1mc\x85\ud83d\ude00\ud800\n\td") == "ab[1mc\U0001f600\n\td"


@pytest.mark.parametrize("text", ["[" * 10**5, "1" * 5000, "{", b"\xff\xfe\xff"])
def test_json_of_any_shape_is_refused_in_one_way(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        json_of(text)
