"""What a folder's `metadata.jsonl` gets, and what it keeps."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion4k.curation.captions.publish import caption_folder, estimate_folder, find_pictures
from diffusion4k.curation.captions.run import CaptioningStopped
from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.data.folder import METADATA, read_folder
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.curation.captions.conftest import make_pictures
from tests.endpoint.server import StandIn, serving

Make = Callable[..., CaptionSettings]


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / METADATA).read_text("utf-8").splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures: one with a caption, one with an empty one, two without a line."""
    folder = tmp_path / "pictures"
    make_pictures(folder, 4)
    (folder / "deeper").mkdir()
    (folder / "0003.png").rename(folder / "deeper" / "ö.png")
    lines = [
        {"file_name": "0002.png", "text": "Ein Haus – alt.", "licence": "CC0"},
        {"file_name": "0001.png", "text": " ", "source": {"page": 1}},
    ]
    (folder / METADATA).write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_only_pictures_without_a_caption(folder: Path, settings: Make) -> None:
    with serving(standin := StandIn()) as url:
        report = caption_folder(folder, settings(url), progress=False)
        assert standin.requests == 3
        assert len(report.captions) == 3 and not report.without_caption
        found = rows(folder)
        assert [row["file_name"] for row in found] == [
            *("0002.png", "0001.png", "0000.png", "deeper/ö.png")
        ]
        assert found[0] == {"file_name": "0002.png", "text": "Ein Haus – alt.", "licence": "CC0"}
        assert found[1]["source"] == {"page": 1} and "stand-in" in found[1]["text"]
        assert "ö.png" in (folder / METADATA).read_text("utf-8")
        assert len(read_folder(folder)) == 4
        before = (folder / METADATA).stat().st_mtime_ns
        caption_folder(folder, settings(url), progress=False)
        assert standin.requests == 3 and (folder / METADATA).stat().st_mtime_ns == before
        caption_folder(folder, settings(url), overwrite=True, progress=False)
        assert standin.requests == 4  # the other three are in the ledger
        assert "stand-in" in rows(folder)[0]["text"] and rows(folder)[0]["licence"] == "CC0"


def test_flagged_ones_are_left_out_unless_told(folder: Path, settings: Make) -> None:
    standin = StandIn(flags=("long",), most_flags=9, seed=2)
    with serving(standin) as url:
        wanted = settings(url, tries=1)
        report = caption_folder(folder, wanted, progress=False)
        assert report.flagged and report.without_caption
        texts = {row["file_name"]: row["text"].strip() for row in rows(folder)}
        named = {folder / name for name, text in texts.items() if text}
        assert named == {folder / "0002.png", *report.captions}
        asked = standin.requests
        kept = settings(url, tries=1, keep_flagged=True)
        report = caption_folder(folder, kept, progress=False)
        assert len(read_folder(folder)) == 4 and not report.without_caption
        assert standin.requests == asked


def test_a_stop_keeps_what_is_finished(folder: Path, settings: Make) -> None:
    with serving(StandIn()) as url, pytest.raises(CaptioningStopped, match="budget"):
        caption_folder(folder, settings(url, budget=0.007, concurrency=1), progress=False)
    done = [row for row in rows(folder) if "stand-in" in row["text"]]
    assert 1 <= len(done) < 3


def test_a_build_folder_gets_only_the_ledger(tmp_path: Path, settings: Make) -> None:
    make_pictures(tmp_path / "train", 3)
    make_pictures(tmp_path / "eval", 2)
    make_pictures(tmp_path / "work", 5)
    (tmp_path / "manifest.parquet").write_bytes(b"")
    with serving(standin := StandIn()) as url:
        report = caption_folder(tmp_path, settings(url), progress=False)
    assert len(report.captions) == standin.requests == 5
    assert (tmp_path / "captions.sqlite").is_file()
    assert not list(tmp_path.rglob(METADATA))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"metadata.jsonl:1: not valid JSON"),
        (b'["a"]', "found a JSON list, allowed is an object"),
        (b'{"text": "a"}', r'"file_name": found no such key'),
        (b'\n{"file_name": "a.png", "text": "\xff"}', r"metadata.jsonl:2: .*UTF-8"),
        (b'{"file_name": "../a.png"}', r"\.\./a\.png leads out of the folder"),
        (b'{"file_name": "/etc/a.png"}', "leads out of the folder"),
        (b'{"file_name": "a.png"}\n{"file_name": "a.png"}', "is named in line 1 already"),
    ],
)
def test_bad_metadata_stops_before_anything_is_paid(
    content: bytes, message: str, folder: Path, settings: Make
) -> None:
    (folder / METADATA).write_bytes(content)
    with serving(standin := StandIn()) as url, pytest.raises(Diffusion4kError, match=message):
        caption_folder(folder, settings(url), progress=False)
    assert standin.requests == 0 and (folder / METADATA).read_bytes() == content


def test_folders_without_pictures(tmp_path: Path, settings: Make) -> None:
    with pytest.raises(Diffusion4kError, match="no such folder"):
        find_pictures(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UsageError, match="no picture in it"):
        find_pictures(tmp_path)


def test_links_that_lead_out_are_not_sent(folder: Path, settings: Make) -> None:
    outside = make_pictures(folder.parent / "private", 1)[0]
    (folder / "link.png").symlink_to(outside)
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "inside.png").symlink_to(folder / "0000.png")
    with serving(standin := StandIn()) as url:
        report = caption_folder(folder, settings(url), progress=False)
    assert {Path(problem.where).name for problem in report.problems} == {
        *("link.png", "dangling.png")
    }
    assert len(report.captions) == 4 and standin.requests == 3


def test_a_name_that_is_no_text(folder: Path, settings: Make) -> None:
    strange = bytes(folder) + b"/\xff.png"
    Path(strange.decode(errors="surrogateescape")).write_bytes(b"x")
    with serving(StandIn()) as url:
        report = caption_folder(folder, settings(url), progress=False)
    [problem] = report.problems
    assert "not UTF-8" in str(problem) and str(problem).isprintable()


def test_estimate_is_of_what_is_left_and_sends_nothing(folder: Path, settings: Make) -> None:
    with serving(standin := StandIn()) as url:
        wanted = settings(url)
        line = estimate_folder(folder, wanted)
        # 96 x 96: 4 tiles of 170 and a base of 85.
        assert line.startswith("3 pictures to caption: about 2,4") and "$0.01" in line
        assert standin.requests == 0 and not (folder / "captions.sqlite").exists()
        caption_folder(folder, wanted, progress=False)
        assert estimate_folder(folder, wanted, overwrite=True).startswith("1 picture to")


def test_a_prefix_stands_before_new_captions(folder: Path, settings: Make) -> None:
    with serving(StandIn()) as url:
        caption_folder(folder, settings(url), prefix="sks style, ", progress=False)
        lines = (folder / "metadata.jsonl").read_text().splitlines()
        caption_folder(folder, settings(url), prefix="other, ", progress=False)
    texts = [json.loads(line)["text"] for line in lines]
    assert sum(text.startswith("sks style, ") for text in texts) == 3
    assert (folder / "metadata.jsonl").read_text().splitlines() == lines
