"""A corrected copy is clean, complete, made of links, and there wholly or not at all."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from diffusion4k.cli import dataset as dataset_verb
from diffusion4k.curation.verify import fix as fix_module
from diffusion4k.curation.verify.captions import MAX_CHARACTERS, corrected
from diffusion4k.curation.verify.fix import LIST, Copy, write_copy
from diffusion4k.data.folder import read_folder
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.support.lock import locked
from tests.curation.verify.conftest import add, add_bytes, add_line, verify
from tests.curation.verify.test_verify import BAD, FILES, write_archive

app = typer.Typer()
app.callback()(lambda: None)
dataset_verb.register(app)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["dataset", "verify", *map(str, arguments)])


def copy(dataset: Path) -> Copy:
    return write_copy(verify(dataset), dataset.parent / "copy", progress=False)


def captions(folder: Path) -> dict[str, str]:
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["file_name"]: row["text"] for row in map(json.loads, lines)}


def listed(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / LIST).read_text().splitlines()]


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [(spoil, kind) for spoil, kind, _ in BAD],
    ids=[f"{n}-{kind}" for n, (_, kind, _) in enumerate(BAD)],
)
def test_the_copy_of_any_spoilt_dataset_is_clean(dataset: Path, spoil, kind: str) -> None:
    add(dataset, "second.png", "A second good one.", seed=77)
    spoil(dataset)
    found = len(verify(dataset).problems)
    made = copy(dataset)
    report = verify(made.folder)
    assert report.problems == []
    assert len(report.good) == made.pictures >= 1
    assert [line["kind"] for line in listed(made.folder)] == [kind] * found
    assert not list(made.folder.rglob(".*"))


def test_what_can_be_mended_is(dataset: Path) -> None:
    add(dataset, "this.png", "This image shows a red lake.", seed=1)
    add(dataset, "scene.png", "In the scene, this image depicts that two dogs run.", seed=2)
    add(dataset, "bell.png", "A bell\x07 rings.", seed=3)
    sentence = "A very long sentence about a lake. "
    add(dataset, "long.png", sentence * 100, seed=4)
    add(dataset, "lake.PNG", seed=5)
    add_line(dataset, "Lake.png", "A lake in other letters.")
    add(dataset, "a.png", "A lake.", seed=6)
    add(dataset, "A.png", "Another lake.", seed=7)
    add(dataset, "real.png", "A picture.", seed=8).rename(dataset / "real.jpg")
    metadata = dataset / "metadata.jsonl"
    metadata.write_bytes(metadata.read_bytes().replace(b"real.png", b"real.jpg"))
    outside = add(dataset.parent / "outside", "there.png", seed=9)
    (dataset / "linked.png").symlink_to(outside)
    add_bytes(dataset, b'{"file_name": "linked.png", "text": "A link.", "author": "me"}\n')
    made = copy(dataset)
    assert (made.pictures, made.corrected, made.left_out) == (10, 8, 0)
    found = captions(made.folder)
    assert found == {
        "good.png": "A good one.",
        "this.png": "A red lake.",
        "scene.png": "Two dogs run.",
        "bell.png": "A bell rings.",
        "long.png": (sentence * (MAX_CHARACTERS // len(sentence))).strip(),
        "lake.PNG": "A lake in other letters.",
        "a.png": "A lake.",
        "A-2.png": "Another lake.",
        "real.png": "A picture.",
        "linked.png": "A link.",
    }
    assert {path.name for path in made.folder.glob("*.[pP]*")} == found.keys()
    assert '"author": "me"' in (made.folder / "metadata.jsonl").read_text()
    assert not (made.folder / "linked.png").is_symlink()
    assert (made.folder / "linked.png").samefile(outside)
    assert (made.folder / "good.png").samefile(dataset / "good.png")
    assert len(read_folder(made.folder)) == 10


def test_what_cannot_be_mended_is_left_out_and_listed(dataset: Path) -> None:
    add(dataset, "cut.png", "Cut.", seed=1).write_bytes(b"\x89PNG\r\n\x1a\n")
    add(dataset, "no.png", "I'm sorry, I can't assist with that.", seed=2)
    add(dataset, "mark.png", "A caf\ufffd.", seed=3)
    add_line(dataset, "absent.png", "Not there.")
    made = copy(dataset)
    assert (made.pictures, made.corrected, made.left_out) == (1, 0, 4)
    assert captions(made.folder) == {"good.png": "A good one."}
    assert {(line["kind"], line["done"]) for line in listed(made.folder)} == {
        (kind, "left out")
        for kind in ("broken", "caption-refusal", "caption-characters", "missing")
    }


def test_layouts_keep_their_folders_and_archives_become_some(tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    for number, part in enumerate(("train", "eval/size_2048")):
        add(dataset / part, "a.png", f"A picture of {part}.", seed=10 + number)
    (dataset / "more").mkdir()
    write_archive(dataset / "more" / "000.tar", FILES)
    (dataset / "README.md").write_text("A card.")
    made = copy(dataset)
    assert made.pictures == 4
    assert captions(made.folder / "more" / "000") == {
        "000.png": "A lake.",
        "sub/001.png": "A hill.",
    }
    assert captions(made.folder / "eval/size_2048") == {"a.png": "A picture of eval/size_2048."}
    assert (made.folder / "README.md").read_text() == "A card."
    assert (made.folder / "more/000/000.png").read_bytes() == FILES["000.png"]


def test_copies_where_links_cannot_be(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    made = copy(dataset)
    assert not (made.folder / "good.png").samefile(dataset / "good.png")
    assert (made.folder / "good.png").read_bytes() == (dataset / "good.png").read_bytes()


def test_an_error_leaves_no_copy_and_the_next_run_starts_anew(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        patch.setattr(fix_module, "write_text", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(OSError, match="No space"):
            copy(dataset)
    assert not (dataset.parent / "copy").exists()
    stale = dataset.parent / ".copy.part" / "good.png"
    assert stale.exists()
    add(dataset.parent / ".copy.part", "stale/stale.png")
    made = copy(dataset)
    assert captions(made.folder) == {"good.png": "A good one."}
    assert not (made.folder / "stale").exists()
    assert not (dataset.parent / ".copy.part").exists()


def test_killed_at_any_time(tmp_path: Path) -> None:
    dataset, out = tmp_path / "dataset", tmp_path / "copy"
    for number in range(40):
        add(dataset, f"{number}.png", f"This image shows lake {number}.", seed=number)
    code = (
        "import os, sys, time; link = os.link\n"
        "def slow(*a):\n    time.sleep(0.1); link(*a)\n"
        "os.link = slow\n"
        "from diffusion4k.cli.main import main\n"
        f"sys.argv[1:] = ['dataset', 'verify', {str(dataset)!r}, '--fix', {str(out)!r}]\n"
        "main()"
    )
    killed = 0
    for wait in (0.0, 0.1, 0.25):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not (tmp_path / ".copy.part").exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() != 1
        assert not out.exists()
    assert killed == 3
    assert run(dataset, "--fix", out).exit_code == 1
    assert run(out).exit_code == 0
    assert captions(out) == {f"{n}.png": f"Lake {n}." for n in range(40)}


def test_two_copies_to_one_place(dataset: Path) -> None:
    with (
        locked(dataset.parent / ".copy.part"),
        pytest.raises(Diffusion4kError, match="another run"),
    ):
        copy(dataset)


def test_places_that_are_refused(dataset: Path, tmp_path: Path) -> None:
    report = verify(dataset)
    for out in (dataset, tmp_path):
        with pytest.raises(UsageError, match="already exists"):
            write_copy(report, out)
    with pytest.raises(UsageError, match="the dataset itself"):
        write_copy(report, dataset / "copy")


def test_command_line(dataset: Path, tmp_path: Path) -> None:
    result = run(dataset)
    assert (result.exit_code, "1 photograph, 0 problems" in result.stdout) == (0, True)
    add_line(dataset, "../0.png", "Outside.")
    result = run(dataset, "--json", tmp_path / "problems.json", "--fix", tmp_path / "copy")
    assert result.exit_code == 1
    assert "metadata.jsonl:2: ../0.png leads out of the folder" in result.stdout
    assert "1 photograph, 0 of them corrected; 1 left out" in result.stdout
    assert json.loads((tmp_path / "problems.json").read_text())["counts"] == {"path": 1}
    assert run(tmp_path / "copy").exit_code == 0
    assert run(dataset, "--min-side", 0).exit_code == 2
    refused = run(tmp_path / "absent").exception
    assert isinstance(refused, UsageError)
    assert refused.exit_code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A lake.", "A lake."),
        ("The scene features that a cat sleeps.", "A cat sleeps."),
        ("In this photo, we see a boat.", "A boat."),
        ("Here is a picture of élan.", "Élan."),
        ("This image shows", None),
        ("I apologize, but no.", None),
        ("x" * 3000, "x" * MAX_CHARACTERS),
        ("word " * 1000, ("word " * (MAX_CHARACTERS // 5)).strip()),
    ],
)
def test_captions_are_corrected(text: str, expected: str | None) -> None:
    assert corrected(text) == expected


def test_a_readme_that_is_a_link_out_of_the_dataset_is_not_copied(dataset: Path) -> None:
    (dataset.parent / "secret").write_text("a secret key")
    (dataset / "README.md").symlink_to(dataset.parent / "secret")
    (dataset / "LICENSE").write_text("Free.")
    made = copy(dataset)
    assert not (made.folder / "README.md").exists()
    assert (made.folder / "LICENSE").read_text() == "Free."
