"""A picture that cannot be read is named by every verb that looks at pictures, and the others are
taken or all is refused; names that are no UTF-8 are names."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from tests.contract.endpoint import ASKING, body, choice, serving
from tests.contract.inputs import FAULTS, tar, write_pictures
from tests.contract.table import verb_of
from tests.contract.world import Run, arguments, contents, errors_of, unharmed

pytestmark = pytest.mark.slow

LOOKING = (
    "evaluate UGLY",
    "evaluate PICTURES --reference UGLY",
    "compare UGLY MORE --out out",
    f"judge UGLY MORE --out out {ASKING}",
    "cache UGLY --model MODEL --resolution 64 --out out",
    "vae eval UGLY --vae MODEL --size 64 --out out",
    "benchmark --images UGLY --prompts prompts.txt --out out",
    f"dataset caption UGLY --overwrite {ASKING}",
    "dataset stats UGLY --out out",
    "dataset verify UGLY",
    "dataset inspect UGLY --port 0",
    "dataset build build.yaml 'sources=[{path: UGLY}]'",
    "figure gallery UGLY --out out.png",
    "figure side-by-side UGLY MORE --out out.png",
    "study check people.yaml 'task.models={a: UGLY, b: MORE}'",
)


WRITTEN = ("out", "ugly/.captions", "ugly/captions", "ugly/decisions", "ugly/metadata.jsonl")


@pytest.fixture(autouse=True)
def visited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are not waited for: who serves one is asked for candidates and pixels."""

    def visit(app: ASGIApp, _: object) -> None:
        client = TestClient(app, base_url="http://127.0.0.1")
        for number in range(3):
            answer: httpx.Response = client.get(f"/api/candidates/{number}")
            print(answer.text)
            pixels: httpx.Response = client.get(f"/tiles/{number}/8/0/0")
            if not pixels.is_success:
                print(pixels.text)

    monkeypatch.setattr("diffusion4k.curation.inspection.run.serve", visit)
    monkeypatch.setattr("diffusion4k.curation.inspection.app.SessionDoor", lambda app, *_: app)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An endpoint whose every answer is a caption."""
    with serving(body(choice(content="A field of coloured noise."))) as address:
        yield address


def all_of(answer: tuple[object, str, str]) -> str:
    """All that was printed, by a command that took what it could or refused all in one line."""
    code, out, err = answer
    assert code in (0, 1, 2) and len(errors_of(err)) <= 1, out + err
    return out + err


def untouched(world: Path, command: str) -> dict[str, str]:
    """What a command must leave as it is; captions are written where they belong."""
    found = contents(world.parent)
    if command.startswith("dataset caption"):
        found.pop("world/ugly/metadata.jsonl", None)
    return found


def listed(world: Path) -> str:
    """What a command has listed in a file that it names or always writes."""
    files = (world / "out" / name for name in ("dropped.csv", "stats.json"))
    return "".join(file.read_text() for file in files if file.is_file())


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("command", LOOKING, ids=verb_of)
def test_it_is_named(
    command: str, kind: str, world: Path, tiny_model: Path, url: str, run: Run
) -> None:
    write_pictures(world / "ugly")
    FAULTS[kind](world / "ugly" / "1.png")
    before = untouched(world, command)
    printed = all_of(run(arguments(command, tiny_model, URL=url)))
    assert "ugly/1.png" in printed + listed(world), printed
    unharmed(world, before, may=WRITTEN)


@pytest.mark.parametrize(
    "command",
    [
        "evaluate UGLY --all",
        "evaluate PICTURES --reference UGLY",
        "compare UGLY MORE --out out",
        "figure gallery UGLY --out out.png",
        "study check people.yaml 'task.models={a: UGLY, b: MORE}'",
        f"judge UGLY MORE --out out {ASKING}",
        "benchmark --images UGLY --prompts prompts.txt --out out",
    ],
    ids=verb_of,
)
def test_what_is_not_read_is_named_once_and_counted(
    command: str, world: Path, tiny_model: Path, url: str, run: Run
) -> None:
    write_pictures(world / "ugly")
    os.mkfifo(world / "ugly" / "pipe.png")
    (world / "ugly" / "gone.png").symlink_to("moved-away.png")
    (world / "ugly" / "phone.heic").write_bytes(b"")
    _, _, err = run(arguments(command, tiny_model, URL=url))
    for name in ("pipe.png", "gone.png", "phone.heic"):
        assert err.count(f"skipped: ugly/{name}: ") == 1, err
    assert err.count("ugly: 2 of 5 pictures read") == 1, err


@pytest.mark.parametrize("command", LOOKING, ids=verb_of)
@pytest.mark.parametrize("captions", ["in-a-file", "beside"])
def test_names_that_are_no_utf_8(
    command: str, captions: str, world: Path, tiny_model: Path, url: str, run: Run
) -> None:
    folder = write_pictures(world / "ugly")
    strange = os.fsencode(folder) + b"/caf\xe9"
    (folder / "1.png").rename(os.fsdecode(strange + b".png"))
    if captions == "beside":
        (folder / "metadata.jsonl").unlink()
        for name in (b"/0", b"/caf\xe9"):
            text = Path(os.fsdecode(os.fsencode(folder) + name + b".txt"))
            text.write_text("A field of noise.")
    before = untouched(world, command)
    printed = all_of(run(arguments(command, tiny_model, URL=url)))
    assert "caf" in printed + listed(world) or "error: " in printed
    unharmed(world, before, may=WRITTEN)


@pytest.mark.parametrize("member", ["../../escaped.png", "/escaped.png", "a/../../escaped.png"])
def test_a_tar_writes_nothing_outside(member: str, world: Path, tiny_model: Path, run: Run) -> None:
    tar(member, (world / "pictures" / "1.png").read_bytes())(world / "ugly", tiny_model)
    before = contents(world.parent)
    command = "dataset build build.yaml 'sources=[{path: UGLY/photos.tar, kind: tars}]'"
    all_of(run(arguments(command, tiny_model)))
    unharmed(world, before)
