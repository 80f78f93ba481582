"""Each case of the table in this process: as honest as a process of its own where nothing is
started, and a hundred times as fast. Of every verb one case has a process.

Every third case is in `make test`; all are in `pytest tests/contract` and, the rest, `make proofs`.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.contract.kinds import KINDS
from tests.contract.table import CASES, Case, verb_of
from tests.contract.world import HUNG, Run, arguments, contents, errors_of, unharmed

QUICK = ("missing", "unknown-key", "one-folder", "nonsense=1", "--side 1000", "out-there")
"""Kinds that are refused before anything is imported."""
LONGEST = 20
"""Seconds of computing, which is what they are where nothing else runs."""
LISTS = ("dataset verify", "dataset caption")
"""Verbs whose answer is a list of what is wrong, on standard output."""
COMMAND = "from diffusion4k.cli.main import main; main()"
SAMPLE = {verb_of(case.command): case for case in reversed(CASES) if case.kind in QUICK}


def put(case: Case, world: Path, model: Path) -> None:
    """Lay what is wrong where the command looks for it."""
    if case.slot:
        given = next((word for word in re.split("[ ,]", case.command) if "UGLY" in word), "UGLY")
        ending = Path(given).suffix if given.partition("UGLY")[2].startswith(".") else ""
        KINDS[case.slot][case.kind](world / f"ugly{ending}", model)


def refused(case: Case, code: object, out: str, err: str) -> None:
    """One line names what is wrong, and the exit code says that something is."""
    assert code in (1, 2), out + err
    assert "Traceback" not in out + err
    errors = errors_of(err)
    lists = case.command.startswith(LISTS) and not errors
    assert lists or len(errors) == 1, out + err
    assert case.names in (out if lists else errors[0]), out + err


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=(pytest.mark.slow,) if number % 3 else (), id=case.name)
        for number, case in enumerate(CASES)
    ],
)
def test_one_line_names_it_and_nothing_is_lost(
    case: Case, world: Path, tiny_model: Path, run: Run
) -> None:
    put(case, world, tiny_model)
    before = contents(world.parent)
    start = time.process_time()
    answer = run(arguments(case.command, tiny_model))
    assert time.process_time() - start < LONGEST
    refused(case, *answer)
    unharmed(world, before)


@pytest.mark.parametrize("case", SAMPLE.values(), ids=SAMPLE.keys())
def test_of_every_verb_one_in_a_process_of_its_own(
    case: Case, world: Path, tiny_model: Path
) -> None:
    put(case, world, tiny_model)
    before = contents(world.parent)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments(case.command, tiny_model)],
        capture_output=True,
        text=True,
        timeout=HUNG,
        check=False,
    )
    refused(case, done.returncode, done.stdout, done.stderr)
    unharmed(world, before)
