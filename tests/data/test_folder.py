"""Image folders with everything wrong that can be wrong in them."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffusion4k.data.folder import photo_folder, read_folder, scan_folder
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.data.fake import save_picture


def line(file_name: str = "good.png", text: str = "fine") -> bytes:
    return json.dumps({"file_name": file_name, "text": text}).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One good photograph with its caption."""
    save_picture(tmp_path / "good.png", (80, 70))
    (tmp_path / "metadata.jsonl").write_bytes(line(text=" A good one.\n") + b"\n")
    return tmp_path


def append(folder: Path, content: bytes) -> None:
    path = folder / "metadata.jsonl"
    path.write_bytes(path.read_bytes() + content)


def test_a_photograph_with_its_caption(folder: Path) -> None:
    (photo,) = read_folder(folder)
    assert photo.path == folder / "good.png"
    assert (photo.file_name, photo.text) == ("good.png", "A good one.")
    assert (photo.width, photo.height) == (80, 70)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (line("absent.png"), "absent.png: no such file"),
        (b'{"file_name": "good.png", ', "metadata.jsonl:2: not valid JSON"),
        (b"[" * 100_000, "metadata.jsonl:2: not valid JSON"),
        (b'["good.png", "text"]', "metadata.jsonl:2: found a JSON list"),
        (b'{"text": "no name"}', 'metadata.jsonl:2: "file_name": found no such key'),
        (b'{"file_name": "other.png"}', 'metadata.jsonl:2: "text": found no such key'),
        (b'{"file_name": "other.png", "text": 3}', '"text": found int, allowed is a string'),
        (line("other.png", "  "), 'metadata.jsonl:2: "text" is empty: write a caption'),
        (line("../good.png"), "leads out of the folder"),
        (line("sub/../../good.png"), "leads out of the folder"),
        (line("/etc/passwd"), "leads out of the folder"),
        (line("good.png", "again"), "metadata.jsonl:2: good.png is named in line 1 already"),
        (line("./good.png", "again"), "metadata.jsonl:2: ./good.png is named in line 1 already"),
        (line("other.png", "Zürich").decode().encode("utf-16"), "metadata.jsonl:2: not UTF-8"),
        (b'{"file_name": "other.png", "text": "\\ud800"}', "a character that is not text"),
        (b'{"file_name": "ot\\u0000her.png", "text": "a"}', "a character that is not text"),
        (line("x" * 5000 + ".png"), "cannot be read"),
        (line("metadata.jsonl"), "metadata.jsonl: not an image"),
    ],
)
def test_a_bad_line_is_named_and_skipped_only_on_request(
    folder: Path, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    append(folder, content + b"\n")
    with pytest.raises(Diffusion4kError) as refused:
        read_folder(folder)
    assert reason in str(refused.value)
    assert "--skip-bad" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert [photo.file_name for photo in read_folder(folder, skip_bad=True)] == ["good.png"]
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "reason"), [((63, 200), "63x200 pixels"), ((400, 90), "at most 4 to 1")]
)
def test_sizes_that_are_of_no_use(folder: Path, size: tuple[int, int], reason: str) -> None:
    save_picture(folder / "other.png", size)
    append(folder, line("other.png"))
    (problem,) = scan_folder(folder).problems
    assert reason in problem.reason


def test_images_without_a_caption_are_reported(folder: Path) -> None:
    (folder / "sub").mkdir()
    save_picture(folder / "sub" / "forgotten.jpg", (80, 80))
    (folder / "notes.txt").write_text("no image")
    (problem,) = scan_folder(folder).problems
    assert problem.where.endswith("sub/forgotten.jpg")
    append(folder, line("sub/forgotten.jpg"))
    assert len(read_folder(folder)) == 2


def test_byte_order_mark_windows_line_ends_and_blank_lines(folder: Path) -> None:
    save_picture(folder / "zwei.png", (80, 80))
    content = b"\xef\xbb\xbf" + line() + b"\r\n\r\n" + line("zwei.png", "Zürich\u2028x") + b"\r\n"
    (folder / "metadata.jsonl").write_bytes(content)
    assert [photo.text for photo in read_folder(folder)] == ["fine", "Zürich\u2028x"]


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder: give a folder"):
        read_folder(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"no captions in it.*dataset caption"):
        read_folder(tmp_path)
    (tmp_path / "metadata.jsonl").touch()
    with pytest.raises(Diffusion4kError, match="names no usable photograph"):
        read_folder(tmp_path)


def test_the_bundled_photographs_are_in_order() -> None:
    assert scan_folder(photo_folder("pocket")).problems == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_metadata_whatever_ends_in_a_traceback(folder: Path, content: bytes) -> None:
    (folder / "metadata.jsonl").write_bytes(content)
    scan_folder(folder)


def test_what_looks_like_a_picture_and_is_not_read_is_reported(folder: Path) -> None:
    (folder / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "gone.png").symlink_to("moved.png")
    save_picture(folder / "camera.png", (80, 70))
    (folder / "camera.png").rename(folder / "camera")
    reasons = {Path(p.where).name: p.reason for p in scan_folder(folder).problems}
    assert reasons.keys() == {"phone.HEIC", "gone.png", "camera"}
    assert "not read: .heic files" in reasons["phone.HEIC"]
    assert "a broken link" in reasons["gone.png"]
    assert "no line in metadata.jsonl names it" in reasons["camera"]


def test_captions_beside_pictures_are_read(tmp_path: Path) -> None:
    """As LoRA trainers have them; what is wrong is named as `dataset verify` names it."""
    (tmp_path / "2023").mkdir()
    for name in ("a.png", "2023/b.png", "c.png", "d.png"):
        save_picture(tmp_path / name, (80, 70))
    (tmp_path / "a.txt").write_text("A lake.\n", encoding="utf-8")
    (tmp_path / "2023" / "b.png.txt").write_text("A hill,\nfar away.", encoding="utf-8")
    (tmp_path / "d.txt").write_text(" \n")
    scan = scan_folder(tmp_path)
    assert {photo.file_name: photo.text for photo in scan.photos} == {
        "a.png": "A lake.",
        "2023/b.png": "A hill, far away.",
    }
    problems = {Path(p.where).name: p.kind for p in scan.problems}
    assert problems == {"c.png": "unnamed", "d.txt": "caption-missing"}


def test_a_table_of_captions_is_read(tmp_path: Path) -> None:
    """As Hugging Face's image folders, or a spreadsheet, have it."""
    for name in ("a.png", "b.png", "c.png"):
        save_picture(tmp_path / name, (80, 70))
    table = '\ufefffile_name;text\r\na.png;"A lake; a boat."\r\nb.png;\r\n'
    (tmp_path / "metadata.csv").write_text(table, encoding="utf-8", newline="")
    scan = scan_folder(tmp_path)
    assert [(photo.file_name, photo.text) for photo in scan.photos] == [
        ("a.png", "A lake; a boat.")
    ]
    assert {Path(p.where).name: p.kind for p in scan.problems} == {
        "metadata.csv:3": "caption-missing",
        "c.png": "unnamed",
    }
