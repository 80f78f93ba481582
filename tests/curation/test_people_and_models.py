"""Captions of models and decisions of people, in the files that they are kept in."""

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from diffusion4k.errors import Diffusion4kError
from tests.curation.conftest import Build, save

# As `curation.captions.ledger` and `curation.inspection.decisions` describe them.
CAPTIONS = """CREATE TABLE captions (picture TEXT, prompt TEXT, model TEXT, settings TEXT,
attempt INTEGER, text TEXT, flag TEXT, created REAL)"""
DECISIONS = """CREATE TABLE decision (id INTEGER PRIMARY KEY, name TEXT, picture_hash TEXT,
decision TEXT, reason TEXT, caption TEXT, at TEXT, who TEXT, undoes INTEGER)"""


def captioned(output: Path, *rows: tuple[Path, str, str | None]) -> None:
    """A ledger with answers about these files, in the order of time."""
    with sqlite3.connect(output / "captions.sqlite") as connection:
        connection.execute(CAPTIONS)
        for time, (path, text, flag) in enumerate(rows):
            picture = hashlib.sha256(path.read_bytes()).hexdigest()
            values = (picture, "p", "m", "{}", time, text, flag, float(time))
            connection.execute("INSERT INTO captions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def decided(output: Path, *rows: tuple[str, str | None, str, str | None, str | None]) -> None:
    """A log of decisions: name, picture's hash, decision, reason, caption."""
    with sqlite3.connect(output / "decisions.sqlite") as connection:
        connection.execute(DECISIONS)
        query = "INSERT INTO decision VALUES (NULL, ?, ?, ?, ?, ?, '2030-01-01', 'me', NULL)"
        connection.executemany(query, rows)
        connection.execute("PRAGMA application_id = 1144277809")
        connection.execute("PRAGMA user_version = 1")


def texts(built: Any) -> dict[str, str | None]:
    return {row["name"]: row["text"] for row in built.rows}


@pytest.mark.parametrize("publish", [{}, {"format": "webp"}], ids=["copied", "written anew"])
def test_a_models_caption_finds_its_picture(photos: Path, build: Build, publish: Any) -> None:
    first = build(photos, publish=publish)
    files = {name: first.output / "train" / name for name in texts(first)}
    names = list(files)
    captioned(
        first.output,
        (files[names[0]], "an older answer", None),
        (files[names[0]], "  a newer answer ", None),
        (files[names[1]], "I cannot help with that", "refused"),
        (photos / "deep/d.jpg", "of the picture as it came", None),
    )
    again = texts(build(photos, publish=publish))
    expected = ["a newer answer", "picture 1", "picture 2", "of the picture as it came"]
    assert [again[name] for name in names] == expected
    assert '"text": "a newer answer"' in (first.output / "train/metadata.jsonl").read_text()


def test_what_has_no_caption_is_published_without_or_dropped(tmp_path: Path, build: Build) -> None:
    save(tmp_path / "photos/a.jpg", 0)
    save(tmp_path / "photos/b.jpg", 1)
    (tmp_path / "photos/b.txt").write_text("with a caption")
    built = build(tmp_path / "photos")
    lines = (built.output / "train/metadata.jsonl").read_text().splitlines()
    assert lines[0] == '{"file_name": "a.jpg", "text": ""}'
    strict = build(tmp_path / "photos", captions={"required": True})
    assert strict.reason("a.jpg").startswith("captions: caption: there is none")
    assert strict.summary.kept == 1


def test_people_have_the_last_word(photos: Path, build: Build) -> None:
    first = build(photos)
    hashes = {row["name"]: row["pixel_hash"] for row in first.rows}
    captioned(first.output, (photos / "b.png", "by a model", None))
    decided(
        first.output,
        ("a.jpg", hashes["a.jpg"], "rejected", "out of focus", None),
        ("b.png", hashes["b.png"], "undecided", None, "by a person"),
        ("deep/c.webp", "of another picture", "rejected", None, "of another picture"),
        ("deep/d.jpg", hashes["deep/d.jpg"], "rejected", None, None),
        ("deep/d.jpg", hashes["deep/d.jpg"], "accepted", None, None),
    )
    built = build(photos)
    assert built.reason("a.jpg") == "inspection: rejected by a person: out of focus"
    assert {row["name"] for row in built.rows if row["kept"]} == hashes.keys() - {"a.jpg"}
    assert texts(built)["b.png"] == "by a person"
    assert texts(built)["deep/c.webp"] == "picture 2"


def test_another_picture_of_the_same_name_is_not_rejected(photos: Path, build: Build) -> None:
    first = build(photos)
    row = first.by_name()["a.jpg"]
    decided(first.output, ("a.jpg", row["pixel_hash"], "rejected", None, None))
    assert build(photos).by_name()["a.jpg"]["kept"] is False
    save(photos / "a.jpg", 55)
    assert build(photos).by_name()["a.jpg"]["kept"] is True


def test_a_damaged_ledger_is_one_line(photos: Path, build: Build) -> None:
    output = build(photos).output
    (output / "captions.sqlite").write_text("no database at all, but longer than a header is")
    with pytest.raises(Diffusion4kError, match=r"captions\.sqlite: cannot be read"):
        build(photos)
