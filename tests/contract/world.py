"""A folder with all that is good, and what is looked at before and after a command."""

import hashlib
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from tests.contract.inputs import write_pictures
from tests.contract.model_inputs import lora

__all__ = ["HUNG", "Run", "arguments", "contents", "errors_of", "make_world", "unharmed"]

HUNG = 180
"""Seconds by the clock, after which something waits for what never comes."""
Run = Callable[[list[str]], tuple[object, str, str]]
"""What is typed behind `diffusion4k`, to exit code, standard output and errors."""
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
ANSWERS = """study,question,prompt_id,prompt,participant,model_a,model_b,first,choice,at,check
s,fine_details,0,A lake.,p-0001,a,b,a,model_a,2026-01-01T10:00:00Z,
s,fine_details,1,A hill.,p-0001,a,b,b,model_b,2026-01-01T10:01:00Z,
"""
FILES = {
    "answers.csv": ANSWERS,
    "run.yaml": RUN,
    "vae.yaml": VAE,
    "study.yaml": STUDY,
    "people.yaml": PEOPLE,
    "ugly-people.yaml": PEOPLE.replace("folder: out", "folder: ugly"),
    "bench.yaml": BENCH,
    "build.yaml": BUILD,
    "prompts.txt": 'A "0" of noise.\nA "1" of noise.\n',
    "ratings.csv": "image,rating\n0.png,1\n1.png,2\n",
    "text.png": "This is no picture.\n",
    "results.json": "{}\n",
}


def make_world(folder: Path, model: Path) -> None:
    """Pictures, recipes and tables that are as they should be; the model is named by its path."""
    write_pictures(folder / "pictures")
    write_pictures(folder / "more", seed=2)
    for name, content in FILES.items():
        (folder / name).write_text(content.replace("MODEL", str(model)))
    lora(dict)(folder / "lora", model)


def contents(folder: Path) -> dict[str, str]:
    """What every file below holds; of other things what they are."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink():
            found[name] = hashlib.sha256(_content(path)).hexdigest()
        elif not path.is_dir():
            found[name] = "special"
    return found


def _content(path: Path) -> bytes:
    """Bytes of a file; of a database its rows, as whoever opens one may change other bytes."""
    if path.suffix == ".sqlite":
        with suppress(sqlite3.Error):
            address = f"{path.absolute().as_uri()}?immutable=1"
            with closing(sqlite3.connect(address, uri=True)) as database:
                return "\n".join(database.iterdump()).encode()
    return path.read_bytes()


def arguments(command: str, model: Path, **places: str) -> list[str]:
    """As the shell would give them; `places` stand for further words of the command."""
    words = {"UGLY": "ugly", "PICTURES": "pictures", "MORE": "more", "MODEL": str(model)} | places
    for word, place in words.items():
        command = command.replace(word, place)
    return shlex.split(command)


def errors_of(err: str) -> list[str]:
    """Lines that say why a command ended."""
    return [line for line in err.splitlines() if line.startswith("error: ")]


def unharmed(world: Path, before: dict[str, str], *, may: tuple[str, ...] = ("out",)) -> None:
    """Nothing is lost, and nothing written but names that begin with one of `may`."""
    after = contents(world.parent)
    assert {name: after.get(name) for name in before} == before
    new = after.keys() - before.keys()
    allowed = tuple(f"world/{name}" for name in may)
    assert not [name for name in new if not name.startswith(allowed)]
