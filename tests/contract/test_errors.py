"""Each case of the table in this process: as honest as a process of its own where nothing is
started, and a hundred times as fast. Of every verb one case has a process.

Every third case is in `make test`; all are in `pytest tests/contract` and, the rest, `make proofs`.
"""

import hashlib
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusion4k.cli.main import main
from tests.contract.inputs import write_pictures
from tests.contract.kinds import KINDS
from tests.contract.model_inputs import lora
from tests.contract.table import CASES, Case, verb_of

QUICK = ("missing", "unknown-key", "one-folder", "nonsense=1", "--side 1000", "out-there")
"""Kinds that are refused before anything is imported."""
LONGEST = 20
"""Seconds of computing, which is what they are where nothing else runs."""
HUNG = 180
"""Seconds by the clock, after which something waits for what never comes."""
LISTS = ("dataset verify", "dataset caption")
"""Verbs whose answer is a list of what is wrong, on standard output."""
COMMAND = "from diffusion4k.cli.main import main; main()"
SAMPLE = {verb_of(case.command): case for case in reversed(CASES) if case.kind in QUICK}
RUN = """
model: MODEL
data: pictures
output: out
resolution: 64
steps: 2
batch_size: 1
precision: fp32
validation: {every: null, samples: 0}
"""
VAE = """
model: MODEL
data: pictures
output: out
crop: 64
steps: 1
batch_size: 1
start: average
perceptual: {name: effnet-pd}
"""
STUDY = """
recipe: {model: MODEL, data: pictures, resolution: 64, batch_size: 1, precision: fp32}
arms:
  one: {objective: {name: flow-matching}}
  two: {objective: {name: wavelet-flow, space: latents}}
baseline: one
seeds: [0]
steps: 1
prompts: prompts.txt
width: 64
height: 64
output: out
"""
PEOPLE = """
name: people
title: Which one?
folder: out
task: {kind: pairwise, models: {a: pictures, b: more}, prompts: prompts.txt}
participants: {open: false}
views: 1
"""
BENCH = """
prompts: prompts.txt
output: out
models: [{name: a, images: pictures}]
"""
BUILD = """
output: out
sources: [{path: pictures}]
header: {min_shorter_side: 64}
"""


@pytest.fixture
def world(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that is good; commands run in it."""
    folder = tmp_path / "world"
    write_pictures(folder / "pictures")
    write_pictures(folder / "more", seed=2)
    for name, content in (
        ("run.yaml", RUN),
        ("vae.yaml", VAE),
        ("study.yaml", STUDY),
        ("people.yaml", PEOPLE),
        ("bench.yaml", BENCH),
        ("build.yaml", BUILD),
        ("prompts.txt", 'A "0" of noise.\nA "1" of noise.\n'),
        ("ratings.csv", "image,rating\n0.png,1\n1.png,2\n"),
        ("text.png", "This is no picture.\n"),
        ("results.json", "{}\n"),
    ):
        (folder / name).write_text(content.replace("MODEL", str(tiny_model)))
    lora(dict)(folder / "lora", tiny_model)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """What every file below holds; of other things what they are."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif not path.is_dir():
            found[name] = "special"
    return found


def arguments(case: Case, model: Path) -> list[str]:
    """As the shell would give them."""
    places = {"UGLY": "ugly", "PICTURES": "pictures", "MORE": "more", "MODEL": str(model)}
    command = case.command
    for word, place in places.items():
        command = command.replace(word, place)
    return shlex.split(command)


@pytest.fixture
def limited() -> Iterator[None]:
    """Whatever hangs is ended, and is a failure."""

    def end(*_: object) -> None:
        raise AssertionError(f"no answer after {HUNG} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(HUNG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(case: Case, world: Path, model: Path) -> None:
    """Lay what is wrong where the command looks for it."""
    if case.slot:
        given = next(word for word in re.split("[ ,]", case.command) if "UGLY" in word)
        ending = Path(given).suffix if given.partition("UGLY")[2].startswith(".") else ""
        KINDS[case.slot][case.kind](world / f"ugly{ending}", model)


def refused(case: Case, code: object, out: str, err: str) -> None:
    """One line names what is wrong, and the exit code says that something is."""
    assert code in (1, 2), out + err
    assert "Traceback" not in out + err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    lists = case.command.startswith(LISTS) and not errors
    assert lists or len(errors) == 1, out + err
    assert case.names in (out if lists else errors[0]), out + err


def unharmed(world: Path, before: dict[str, str]) -> None:
    """Nothing is lost, and nothing written but below what may be."""
    after = contents(world.parent)
    assert {name: after.get(name) for name in before} == before
    new = after.keys() - before.keys()
    assert not [name for name in new if not name.startswith("world/out")]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=(pytest.mark.slow,) if number % 3 else (), id=case.name)
        for number, case in enumerate(CASES)
    ],
)
def test_one_line_names_it_and_nothing_is_lost(
    case: Case,
    world: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limited: None,
) -> None:
    put(case, world, tiny_model)
    before = contents(world.parent)
    monkeypatch.setattr("sys.argv", ["diffusion4k", *arguments(case, tiny_model)])
    start = time.process_time()
    with pytest.raises(SystemExit) as left:
        main()
    assert time.process_time() - start < LONGEST
    refused(case, left.value.code, *capsys.readouterr())
    unharmed(world, before)


@pytest.mark.parametrize("case", SAMPLE.values(), ids=SAMPLE.keys())
def test_of_every_verb_one_in_a_process_of_its_own(
    case: Case, world: Path, tiny_model: Path
) -> None:
    put(case, world, tiny_model)
    before = contents(world.parent)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments(case, tiny_model)],
        capture_output=True,
        text=True,
        timeout=HUNG,
        check=False,
    )
    refused(case, done.returncode, done.stdout, done.stderr)
    unharmed(world, before)
