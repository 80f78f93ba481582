"""What a command writes has no place: a file is in the way, the disk is full or read-only."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.endpoint import ASKING, serving
from tests.contract.inputs import write_pictures
from tests.contract.table import verb_of
from tests.contract.values import ENDPOINT, SMALL
from tests.contract.world import Run, arguments, contents, errors_of, unharmed
from tests.disk import largest_file, mounted

pytestmark = pytest.mark.slow

WRITING = (
    "evaluate PICTURES --out OUT.json",
    "compare PICTURES MORE --out OUT",
    f"judge PICTURES MORE --out OUT {ENDPOINT}",
    "cache PICTURES --model MODEL --resolution 64 --out OUT",
    "train run.yaml output=OUT",
    "ablate study.yaml output=OUT",
    "vae train vae.yaml output=OUT",
    "vae eval PICTURES --vae MODEL --size 64 --out OUT",
    "benchmark --images PICTURES --prompts prompts.txt --out OUT",
    f"generate lake --model MODEL {SMALL} --out OUT.png",
    f"generate --prompts prompts.txt --model MODEL {SMALL} --out OUT",
    "merge-lora lora --model MODEL --out OUT",
    "lora inspect lora --figure OUT.png",
    "lora convert lora OUT.safetensors --layout kohya --family sd3",
    "lora convert lora OUT --layout peft --family sd3",
    "dataset build build.yaml output=OUT",
    "dataset stats PICTURES --out OUT",
    "dataset verify PICTURES --fix OUT",
    "figure gallery PICTURES --out OUT.png",
    "figure side-by-side PICTURES MORE --out OUT.png",
    "figure text PICTURES --out OUT.png",
    "study links people.yaml folder=OUT --count 1",
    "study export people.yaml OUT.csv folder=begun",
    "study backup people.yaml OUT.sqlite folder=begun",
    "study report answers.csv --out OUT",
    "demo --model MODEL --side 384 --training-steps 2 --out OUT",
)
SMALL_TABLES = ("evaluate", "study export")
ROOM = 4096
"""Bytes that the disk which is almost full takes: a small table, but no picture."""


@pytest.fixture(params=["file-in-the-way", "full", "almost-full", "read-only"])
def place(request: pytest.FixtureRequest, world: Path) -> Iterator[str]:
    """Where nothing can be written."""
    if request.param == "file-in-the-way":
        yield "text.png/out"
        return
    disk = world / "out"
    disk.mkdir()
    with ExitStack() as stack:
        if request.param in ("full", "almost-full"):
            if not stack.enter_context(mounted(disk, f"size={ROOM}")):
                stack.enter_context(largest_file(64))
            elif request.param == "full":
                (disk / "other").write_bytes(bytes(ROOM))
        elif not stack.enter_context(mounted(disk, "ro")):
            if os.geteuid() == 0:
                pytest.skip("the superuser writes everywhere, and may mount nothing here")
            disk.chmod(0o555)
        yield "out/out"


@pytest.fixture
def begun(world: Path, run: Run) -> None:
    """A study of whose answers something can be written."""
    code, out, err = run(
        ["study", "links", "people.yaml", "folder=begun", "--count", "1", "--out", "begun.csv"]
    )
    assert code == 0, out + err


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize("command", WRITING, ids=verb_of)
def test_a_place_that_takes_nothing_is_named(
    command: str,
    place: str,
    world: Path,
    tiny_model: Path,
    run: Run,
    request: pytest.FixtureRequest,
) -> None:
    if "almost-full" in request.node.callspec.id and command.startswith(SMALL_TABLES):
        pytest.skip("there is room for what it writes")
    before = contents(world.parent)
    code, out, err = run(arguments(command, tiny_model, OUT=place))
    assert code in (1, 2), out + err
    (line,) = errors_of(err)
    assert place.partition("/")[0] in line
    unharmed(world, before, may=("out", "begun/checks"))


@pytest.fixture(params=["folder-in-the-way", "full", "read-only"])
def no_room_for_captions(request: pytest.FixtureRequest, world: Path) -> Iterator[None]:
    """Pictures in `ugly`, beside which nothing can be written."""
    kind, folder = request.param, world / "ugly"
    if kind == "folder-in-the-way":
        (write_pictures(folder) / "captions.sqlite").mkdir()
        yield
        return
    pictures = list((world / "pictures").iterdir())
    blocks = sum(-(-file.stat().st_size // ROOM) for file in pictures)
    folder.mkdir()
    with ExitStack() as stack:
        is_disk = stack.enter_context(mounted(folder, f"size={(blocks + 1) * ROOM}"))
        for file in pictures:
            shutil.copy(file, folder)
        if kind == "full":
            if not is_disk:
                stack.enter_context(largest_file(64))
        elif is_disk:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        elif os.geteuid() == 0:
            pytest.skip("the superuser writes everywhere, and may mount nothing here")
        else:
            folder.chmod(0o555)
        yield


@pytest.mark.usefixtures("no_room_for_captions")
def test_captions_without_room_are_refused_before_any_is_paid(
    world: Path, tiny_model: Path, run: Run
) -> None:
    before = contents(world.parent)
    asked: list[object] = []
    with serving(asked.append) as url:
        command = f"dataset caption UGLY --overwrite {ASKING}"
        code, out, err = run(arguments(command, tiny_model, URL=url))
    assert code in (1, 2) and not asked, out + err
    (line,) = errors_of(err)
    assert "ugly" in line
    unharmed(world, before, may=("ugly/.captions", "ugly/captions"))
