"""The log of decisions against a plain list of states, and what the file itself promises."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.curation.inspection.decisions import Decision, latest_decisions
from diffusion4k.curation.inspection.log import DecisionLog
from diffusion4k.errors import Diffusion4kError

NAMES = st.sampled_from(["a.jpg", "b.jpg", "folder/ö '\"%.jpg"])
HASHES = st.sampled_from([None, "00", "ff"])
TEXTS = st.none() | st.text(max_size=8).filter(lambda text: text.isprintable())
APPENDS = st.tuples(
    NAMES, HASHES, st.sampled_from(["accepted", "rejected", "undecided"]), TEXTS, TEXTS
)
STEPS = st.lists(APPENDS | st.sampled_from(["undo", "reopen"]), max_size=25)


NOTHING = ("undecided", None, None)

State = dict[str, tuple[Any, ...]]


def state(decisions: dict[str, Decision]) -> State:
    """What holds, without names of which nothing does."""
    return {
        name: (d.picture_hash, d.decision, d.reason, d.caption)
        for name, d in decisions.items()
        if (d.decision, d.reason, d.caption) != NOTHING
    }


@settings(max_examples=30)
@given(steps=STEPS)
def test_against_a_list_of_all_states(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("log") / "decisions.sqlite"
    log = DecisionLog(path)
    other = DecisionLog(path)  # As a second server has it open.
    states: list[State] = [{}]
    names: list[str] = []
    rows = 0
    for step in steps:
        if step == "reopen":
            log = DecisionLog(path)
        elif step == "undo":
            assert log.undo() == (names[-1] if names else None)
            if names:
                names.pop()
                states.pop()
                rows += 1
        else:
            name, picture_hash, *what = step
            log.append(name, picture_hash, what[0], reason=what[1], caption=what[2])
            after = {key: value for key, value in states[-1].items() if key != name}
            if tuple(what) != NOTHING:
                after[name] = (picture_hash, *what)
            if after != states[-1]:
                states.append(after)
                names.append(name)
                rows += 1
        log, other = other, log
        assert state(log.latest()) == states[-1]
    assert state(latest_decisions(path)) == states[-1]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM decision").fetchone() == (rows,)


def test_a_row_says_all_that_holds(tmp_path: Path) -> None:
    path = tmp_path / "decisions.sqlite"
    log = DecisionLog(path)
    log.append("a.jpg", "00", "rejected", reason="motion blur", caption="A lake.")
    log.undo()
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    first, second = (dict(row) for row in connection.execute("SELECT * FROM decision ORDER BY id"))
    assert first.pop("at") <= second.pop("at")
    assert first.pop("who") == second.pop("who") != ""
    empty = {"picture_hash": None, "reason": None, "caption": None}
    assert first == {
        **{"id": 1, "name": "a.jpg", "picture_hash": "00", "decision": "rejected"},
        **{"reason": "motion blur", "caption": "A lake.", "undoes": None},
    }
    assert second == {"id": 2, "name": "a.jpg", "decision": "undecided", "undoes": 1} | empty


@pytest.mark.parametrize(
    "change", ["UPDATE decision SET decision = 'accepted'", "DELETE FROM decision"]
)
def test_rows_are_only_ever_added(tmp_path: Path, change: str) -> None:
    path = tmp_path / "decisions.sqlite"
    DecisionLog(path).append("a.jpg", None, "rejected")
    with (
        sqlite3.connect(path) as connection,
        pytest.raises(sqlite3.IntegrityError, match="only ever added"),
    ):
        connection.execute(change)
    assert latest_decisions(path)["a.jpg"].decision == "rejected"


def test_reading_makes_no_file(tmp_path: Path) -> None:
    assert latest_decisions(tmp_path / "decisions.sqlite") == {}
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_another_program_holds(tmp_path: Path) -> None:
    path = tmp_path / "decisions.sqlite"
    log = DecisionLog(path, wait=0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    for attempt in (lambda: log.append("a", None, "accepted"), log.undo, log.latest):
        with pytest.raises(Diffusion4kError, match="another program is writing to it"):
            attempt()
    with pytest.raises(Diffusion4kError, match="another program is writing to it"):
        DecisionLog(path, wait=0.1)
    holder.execute("COMMIT")
    log.append("a", None, "accepted")
    assert log.latest()["a"].decision == "accepted"


def test_a_file_made_empty_by_a_kill_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "decisions.sqlite"
    path.touch()
    assert latest_decisions(path) == {}
    DecisionLog(path).append("a", None, "accepted")
    assert set(latest_decisions(path)) == {"a"}


def another_version(path: Path) -> None:
    DecisionLog(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")


def another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE decision (id)")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (another_version, "version 7 of its tables, known here is 1"),
        (another_program, "another program's database: move it away"),
        (
            lambda path: path.write_bytes(b"no database at all" * 100),
            "not an intact SQLite database",
        ),
        (lambda path: path.mkdir(), "cannot be opened"),
    ],
)
@pytest.mark.parametrize("use", [DecisionLog, latest_decisions])
def test_files_that_are_no_log_of_ours(tmp_path: Path, spoil: Any, reason: str, use: Any) -> None:
    path = tmp_path / "decisions.sqlite"
    spoil(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(Diffusion4kError) as refused:
        use(path)
    assert reason in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert before is None or path.read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Diffusion4kError, match="cannot be created"):
        DecisionLog(tmp_path / "absent" / "decisions.sqlite")


def test_a_log_that_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "decisions.sqlite"
    log = DecisionLog(path)
    log.append("a", None, "accepted")
    path.rename(tmp_path / "elsewhere.sqlite")
    with pytest.raises(Diffusion4kError, match="cannot be opened: check that it exists"):
        log.append("b", None, "accepted")
    assert not path.exists()


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A log that this process may not write, even where it runs as root."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        path = Path(folder) / "decisions.sqlite"
        DecisionLog(path).append("a", None, "accepted")
        path.chmod(0o444)
        path.parent.chmod(0o555)
        if root:
            os.seteuid(65534)
        yield path
        if root:
            os.seteuid(0)
        path.parent.chmod(0o755)


def test_a_log_that_may_only_be_read(read_only: Path) -> None:
    assert latest_decisions(read_only)["a"].decision == "accepted"
    with pytest.raises(Diffusion4kError, match="not writable: check the permissions"):
        DecisionLog(read_only)
