"""The command as a real process: killed in the middle of the work, and given what is wrong."""

import signal
import sqlite3
import threading
from importlib import util
from pathlib import Path
from random import Random

import httpx
import pytest
import typer
from typer.testing import CliRunner

from diffusion4k.cli.dataset.inspect import inspect
from diffusion4k.curation.inspection.decisions import latest_decisions
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.web.serve import listen
from tests.curation.inspection.fake import make_dataset
from tests.curation.inspection.server import serving


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "dataset", 40)


def test_what_it_prints_and_how_it_ends(dataset: Path) -> None:
    with serving(dataset) as server:
        assert server.lines[0] == "27 candidates, 0 decided; Ctrl-C ends"
        assert server.address.startswith("http://127.0.0.1:")
        client = server.client()
        body = {"decision": "accepted"}
        assert client.post("/api/candidates/0/decision", json=body).is_success
        assert "server" not in client.get("/").headers
        code, out, err = server.stop(signal.SIGINT)
        assert (code, out, err) == (0, "1 accepted, 0 rejected of 27\n", "")
    with serving(dataset, "--all") as server:
        assert server.lines[0] == "40 candidates, 1 decided; Ctrl-C ends"


def test_kill_9_loses_nothing_that_was_acknowledged(dataset: Path) -> None:
    random = Random(0)
    acknowledged: dict[int, str] = {}
    for _ in range(3):
        with serving(dataset) as server:
            client = server.client()
            for number, decision in acknowledged.items():
                assert client.get(f"/api/candidates/{number}").json()["decision"] == decision
            killer = threading.Timer(random.uniform(0, 0.02), server.process.kill)
            left = random.randint(8, 40)  # answers until it starts to count
            last = None
            with pytest.raises(httpx.TransportError):
                while True:
                    last = random.randrange(27), random.choice(["accepted", "rejected"])
                    body = {"decision": last[1]}
                    answer = client.post(f"/api/candidates/{last[0]}/decision", json=body)
                    assert answer.is_success
                    acknowledged[last[0]] = last[1]
                    left -= 1
                    if left == 0:
                        killer.start()
            killer.join()
        # The one under way may be there or not, but nothing else may differ.
        found = {
            int(name.removesuffix(".png")): decision.decision
            for name, decision in latest_decisions(dataset / "decisions.sqlite").items()
        }
        kept = [number for number in range(40) if number % 3 != 2]
        expected = {kept[number]: decision for number, decision in acknowledged.items()}
        under_way = {kept[last[0]]: last[1]} if last else {}
        assert found in (expected, expected | under_way)
        acknowledged = {kept.index(number): decision for number, decision in found.items()}
    assert len(acknowledged) > 10
    with sqlite3.connect(dataset / "decisions.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_open_to_others_only_with_a_warning(dataset: Path) -> None:
    with serving(dataset, "--host", "0.0.0.0") as server:
        server.client()
        _, _, err = server.stop(signal.SIGINT)
        assert err.startswith("warning: 0.0.0.0 can be reached from other machines")


app = typer.Typer()
app.command()(inspect)


def refused(*arguments: object) -> Diffusion4kError:
    error = CliRunner().invoke(app, list(map(str, arguments))).exception
    assert isinstance(error, Diffusion4kError), error
    assert "\n" not in str(error)
    return error


def test_no_dataset(tmp_path: Path) -> None:
    assert "neither manifest.parquet nor metadata.jsonl" in str(refused(tmp_path, "--port", 0))
    assert "no such folder" in str(refused(tmp_path / "absent", "--port", 0))
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken(dataset: Path) -> None:
    with listen("127.0.0.1", 0) as bound:
        error = refused(dataset, "--port", bound.getsockname()[1])
    assert isinstance(error, UsageError)
    assert "taken by another program" in str(error)
    assert not (dataset / "decisions.sqlite").exists()


def test_decisions_of_another_version(dataset: Path) -> None:
    with serving(dataset):
        pass
    with sqlite3.connect(dataset / "decisions.sqlite") as connection:
        connection.execute("PRAGMA user_version = 2")
    assert "version 2 of its tables, known here is 1" in str(refused(dataset, "--port", 0))


def test_a_database_that_is_locked(dataset: Path) -> None:
    with serving(dataset):
        pass
    with sqlite3.connect(dataset / "decisions.sqlite", isolation_level=None) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert "another program is writing to it" in str(refused(dataset, "--port", 0))


def test_libraries_that_are_missing(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = util.find_spec

    def find_spec(name: str) -> object:
        return None if name in ("uvicorn", "sqlmodel") else found(name)

    monkeypatch.setattr("diffusion4k.web.extra.find_spec", find_spec)
    error = str(refused(dataset))
    assert error.startswith("uvicorn, sqlmodel: not installed")
    assert "pip install 'diffusion4k[web]'" in error


def test_help_shows_an_example() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert "--port" in text and "--host" in text and "--all" in text
