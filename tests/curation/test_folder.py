"""The folder source: captions from three places, and what may not be followed."""

import json
import os
from pathlib import Path

import pytest

from diffusion4k.curation.entries import CurationEntry
from diffusion4k.curation.recipe import FolderSource
from diffusion4k.curation.sources.folder import folder_entries
from diffusion4k.curation.verify.verify import verify_dataset
from diffusion4k.data.picture_files import list_images
from diffusion4k.errors import UsageError
from tests.curation.conftest import save


def entries(folder: Path, **keys: object) -> dict[str, CurationEntry]:
    found = list(folder_entries(FolderSource(path=str(folder), **keys)))
    return {Path(entry.source).name: entry for entry in found}


def test_captions_come_from_metadata_and_from_files_beside(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "d/e.jpg", "d/f.jpg"):
        save(tmp_path / name, 0)
    (tmp_path / "metadata.jsonl").write_text(
        '\ufeff{"file_name": "a.jpg", "text": "from metadata"}\n\n{"file_name": "d/f.jpg"}\n'
    )
    (tmp_path / "d/metadata.jsonl").write_text('{"file_name": "e.jpg", "text": " in  d "}\n')
    (tmp_path / "a.txt").write_text("from a file: metadata goes before it")
    (tmp_path / "b.txt").write_text("\ufeffline one\nline two\n")
    (tmp_path / "c.json").write_text('{"caption": "from JSON"}')
    found = entries(tmp_path)
    texts = {name: entry.text for name, entry in found.items()}
    assert texts == {
        "a.jpg": "from metadata",
        "b.jpg": "line one line two",
        "c.jpg": "from JSON",
        "e.jpg": "in d",
        "f.jpg": None,
    }
    assert [entry.name for entry in found.values()] == [
        "a.jpg",
        "b.jpg",
        "c.jpg",
        "d/e.jpg",
        "d/f.jpg",
    ]
    assert not any(entry.problem for entry in found.values())


def test_the_caption_may_have_another_key(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", 0)
    row = {"file_name": "a.jpg", "text": "old", "prompt": "wanted"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    assert entries(tmp_path, captions="prompt")["a.jpg"].text == "wanted"


def test_links_are_followed_inside_the_folder_only(tmp_path: Path) -> None:
    folder, other = tmp_path / "photos", tmp_path / "other"
    save(folder / "real.jpg", 0)
    save(other / "secret.jpg", 1)
    (folder / "inside.jpg").symlink_to("real.jpg")
    (folder / "outside.jpg").symlink_to(other / "secret.jpg")
    (folder / "gone.jpg").symlink_to("nothing.jpg")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    (folder / "folder").symlink_to(other, target_is_directory=True)
    (folder / "up").symlink_to("..", target_is_directory=True)
    found = entries(folder)
    assert set(found) == {"real.jpg", "inside.jpg", "outside.jpg", "gone.jpg", "circle.jpg"}
    assert found["inside.jpg"].problem is None
    assert "leads out of the folder" in str(found["outside.jpg"].problem)
    assert "cannot be read" in str(found["gone.jpg"].problem)
    assert "cannot be read" in str(found["circle.jpg"].problem)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"file_name": "caf\xe9.jpg", "text": "x"}', "not UTF-8"),
        (b"{", "not valid JSON"),
        (b"[1]", "found a JSON list"),
        (b'{"text": "x"}', 'no "file_name"'),
        (b'{"file_name": "../secret.jpg", "text": "x"}', "leads out of the folder"),
        (b'{"file_name": "/etc/secret.jpg", "text": "x"}', "leads out of the folder"),
        (b'{"file_name": "none.jpg", "text": "x"}', "no such picture"),
        (b'{"file_name": "a.jpg", "text": 7}', "found int"),
        (b'{"file_name": "a.jpg", "text": "\\ud800"}', "not text"),
        (b'{"file_name": "a.jpg", "text": "again"}\n{"file_name": "./a.jpg"}', "is named in"),
    ],
)
def test_bad_lines_are_rows_with_their_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    save(tmp_path / "a.jpg", 0)
    (tmp_path / "metadata.jsonl").write_bytes(line + b"\n")
    found = entries(tmp_path)
    assert found.pop("a.jpg").problem is None
    (problem,) = found.values()
    assert reason in str(problem.problem) and "metadata.jsonl:" in problem.source


def test_a_bad_file_beside_costs_only_the_caption(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        save(tmp_path / name, 0)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.json").write_text("{" * 5)
    found = entries(tmp_path)
    assert found["a.jpg"].text is found["a.jpg"].problem is None
    assert "not UTF-8" in str(found["a.txt"].problem)
    assert "not valid JSON" in str(found["b.json"].problem)


def test_hidden_files_and_the_output_are_no_source(tmp_path: Path) -> None:
    for name in ("a.jpg", ".b.jpg", ".hidden/c.jpg", "runs/out/train/d.jpg", "notes.md"):
        save(tmp_path / name, 0, format="JPEG")
    found = folder_entries(FolderSource(path=str(tmp_path)), tmp_path / "runs/out")
    assert [entry.name for entry in found] == ["a.jpg"]


def test_a_name_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", 0)
    try:
        (tmp_path / "caf\udce9.jpg").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has only UTF-8 names")
    problems = [entry for entry in entries(tmp_path).values() if entry.problem]
    assert ["name is not UTF-8" in str(entry.problem) for entry in problems] == [True]
    problems[0].source.encode()


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        list(folder_entries(FolderSource(path=str(tmp_path / "none"))))


def test_the_key_is_that_of_the_file_not_of_its_caption(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", 0)
    before = entries(tmp_path)["a.jpg"]
    (tmp_path / "a.txt").write_text("a caption")
    assert entries(tmp_path)["a.jpg"].key == before.key
    save(path, 1)
    assert entries(tmp_path)["a.jpg"].key != before.key


LOOK_ALIKES = {
    "photo.jfif": "photo.txt",
    "photo2.jpe": "photo2.txt",
    "noending": "noending.txt",
    "IMG_1.JPG": "IMG_1.TXT",
    "kohya.jpg": "kohya.caption",
    "double.jpg": "double.jpg.txt",
    "dotted.1.jpg": "dotted.1.json",
}


def make_look_alikes(folder: Path) -> None:
    for seed, (name, beside) in enumerate(LOOK_ALIKES.items()):
        save(folder / name, seed, format="JPEG", quality=95)
        content = json.dumps({"text": name}) if beside.endswith("json") else name
        (folder / beside).write_text(content)
    (folder / "iphone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "iphone.txt").write_text("the caption of another")
    (folder / "gone.png").symlink_to("moved.png")
    (folder / "LICENSE").write_text("no picture")
    (folder / "lost.txt").write_text("the caption of none")


def test_every_picture_is_read_or_named(tmp_path: Path) -> None:
    make_look_alikes(tmp_path)
    found = entries(tmp_path)
    problems = {name: entry.problem for name, entry in found.items() if entry.problem}
    assert {name: entry.text for name, entry in found.items() if name not in problems} == {
        name: name for name in LOOK_ALIKES
    }
    assert "not read: .heic files" in str(problems.pop("iphone.heic"))
    assert "cannot be read" in str(problems.pop("gone.png"))
    (lost,) = problems.values()
    assert "captions without a picture: 1, the first is lost.txt" in str(lost)


def test_every_picture_is_verified_or_named(tmp_path: Path) -> None:
    make_look_alikes(tmp_path)
    report = verify_dataset(tmp_path, min_side=32, progress=False)
    assert {p.photo.file_name: p.photo.text for p in report.pictures} == {n: n for n in LOOK_ALIKES}
    named = {Path(problem.where).name: problem.kind for problem in report.problems}
    assert named == {
        "iphone.heic": "unread",
        "gone.png": "unread",
        "noending": "ending",
        "lost.txt": "caption-alone",
    }


def test_every_picture_is_listed_or_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_look_alikes(tmp_path)
    assert {path.name for path in list_images(tmp_path)} == LOOK_ALIKES.keys()
    said = capsys.readouterr().err
    assert "iphone.heic: not read" in said
    assert "gone.png: a broken link" in said


def test_what_a_line_names_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    rows = []
    for seed, name in enumerate(["photo.jpg_large", "noending", "sub/a.bak", ".hidden.jpg"]):
        save(tmp_path / name, seed, format="JPEG", quality=95)
        rows.append(json.dumps({"file_name": name, "text": name}) + "\n")
    (tmp_path / "metadata.jsonl").write_text("".join(rows))
    found = entries(tmp_path)
    assert len(found) == 4
    assert all(entry.text == entry.name and not entry.problem for entry in found.values())


def test_a_caption_is_never_read_through_a_link_that_leads_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a private key")
    save(tmp_path / "photos/a.jpg", 0)
    (tmp_path / "photos/a.txt").symlink_to(tmp_path / "secret")
    found = entries(tmp_path / "photos")
    assert found["a.jpg"].text is None
    assert "leads out of the folder" in str(found["a.txt"].problem)


def test_a_fifo_that_a_line_names_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "photo.jpg")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "photo.jpg", "text": "A lake."}\n')
    [entry] = folder_entries(FolderSource(path=str(tmp_path)))
    assert entry.problem and "not a regular file" in entry.problem
