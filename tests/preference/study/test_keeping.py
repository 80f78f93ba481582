"""What is kept: whatever happens to the database, nothing that was acknowledged is lost."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import event, text
from sqlmodel import select

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.study.access import new_participant
from diffusion4k.preference.study.backup import back_up
from diffusion4k.preference.study.config import read_study
from diffusion4k.preference.study.store import exclusive, now, open_store, read_rows
from diffusion4k.preference.study.tables import TABLES, AnswerRow, ShownRow
from diffusion4k.preference.study.writer import Writer
from diffusion4k.web import postgres
from tests.preference.study.fake import Person, Running, make_study

POSTGRES = shutil.which("pg_ctl") or next(Path("/").glob("usr/lib/postgresql/*/bin/pg_ctl"), None)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_study(tmp_path, participants={"open": True})


@pytest.fixture
def running(study: Path) -> Iterator[Running]:
    running = Running(study)
    yield running
    running.close()


def choices(person: Person, value: str = "left") -> dict[str, str]:
    return {question["name"]: value for question in person.me["questions"]}


def test_rows_are_only_ever_added(running: Running) -> None:
    person = running.join()
    person.next()
    person.reply(0, choices(person))
    with sqlite3.connect(running.config.place / "study.sqlite") as connection:
        for table in TABLES:
            name = table.__tablename__
            assert connection.execute(f"SELECT count(*) FROM {name}").fetchone() > (0,)
            for statement in (f"DELETE FROM {name}", f"UPDATE {name} SET id = id + 1"):
                with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
                    connection.execute(statement)


def test_a_locked_database_refuses_and_the_same_answer_is_kept_later(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    person = running.join()
    person.next()
    running.store._engine.dispose()
    other = sqlite3.connect(running.config.place / "study.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    refused = person.reply(0, choices(person), key="sent-twice")
    assert (refused.status_code, refused.text) == (
        503,
        "the server cannot save anything at the moment",
    )
    assert "study.sqlite: another program is writing to it" in capsys.readouterr().err
    assert person.next()["done"] == 0
    other.execute("ROLLBACK")
    other.close()
    assert person.reply(0, choices(person), key="sent-twice").json()["done"] == 1
    with running.store.session(reading=True) as session:
        assert len(session.exec(select(AnswerRow)).all()) == 3


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    person = running.join()
    person.next()
    pages = [1]  # SQLite takes those that there are as the least.

    def limit(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")

    event.listen(running.store._engine, "checkout", limit)
    with pytest.raises(Diffusion4kError, match="the disk is full: make room"):
        for position in range(1000):  # What is left in them is used up.
            with running.store.session() as session:
                session.add(filler(position))
    assert person.reply(0, choices(person)).status_code == 503
    assert "the disk is full: make room" in capsys.readouterr().err
    pages[0] = 10_000
    assert person.reply(0, choices(person)).json()["done"] == 1


def filler(position: int) -> AnswerRow:
    return AnswerRow(
        participant=1,
        position=1000 + position,
        question="visual_aesthetics",
        choice="left",
        detail="",
        seconds=0.001,
        key="key-00000001",
        at=now(),
    )


def test_a_database_that_is_taken_away_is_not_written_into_the_void(running: Running) -> None:
    person = running.join()
    person.next()
    path = running.config.place / "study.sqlite"
    path.rename(path.with_name("elsewhere"))
    assert person.reply(0, choices(person)).status_code == 503
    path.with_name("elsewhere").rename(path)
    assert person.reply(0, choices(person)).is_success


def test_one_bad_job_of_a_batch_is_the_only_one_that_fails(running: Running) -> None:
    writer = Writer(running.store)
    gate = threading.Event()
    first = writer.submit(lambda session: gate.wait(10))
    jobs = [writer.submit(lambda session, n=n: n if n != 3 else 1 / 0) for n in range(6)]
    rows = writer.add([ShownRow(participant=1, position=9, unit="x", turned=False, at="")])
    again = writer.add([ShownRow(participant=1, position=9, unit="y", turned=False, at="")])
    gate.set()
    assert first.result(10)
    assert [job.result(10) for job in jobs if job is not jobs[3]] == [0, 1, 2, 4, 5]
    with pytest.raises(ZeroDivisionError):
        jobs[3].result(10)
    assert rows.result(10) is again.result(10) is None
    with running.store.session(reading=True) as session:
        assert [row.unit for row in session.exec(select(ShownRow))] == ["x"]
    writer.close()


def test_many_at_once(study: Path) -> None:
    # Without blurred copies, as those who prefer them would be left out.
    running = Running(study, "task.checks.degraded=0")

    def take_part(_: int) -> int:
        person = running.join()
        while not (found := person.next()).get("finished"):
            for _ in range(2):
                answer = person.reply(
                    found["position"], choices(person), key=f"key-{found['position']:04d}"
                )
                assert answer.is_success
        return found["done"]

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(take_part, range(12)))
    assert done == [4] * 12
    views = running.study.state.design.views
    assert set(views) == {12}
    assert abs(running.study.state.design.turns).max() == 0
    with running.store.session(reading=True) as session:
        assert len(session.exec(select(AnswerRow)).all()) == 12 * 4 * 3
    running.close()


def test_a_second_server_is_refused(running: Running) -> None:
    with (
        exclusive(running.config, running.store),
        pytest.raises(Diffusion4kError, match="another server is running this study"),
        exclusive(running.config, running.store),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("task.tie=true", "settings, task, tie: false before, true now"),
        ("task.questions=[{name: own, title: T, text: t}]", "settings, task, questions: "),
        ("seed=7", "settings, seed: 0 before, 7 now"),
        ("consent=Other", "settings, consent: "),
        ("name=other", "its database holds the study fake"),
    ],
)
def test_a_study_that_was_changed_after_it_began(study: Path, change: str, said: str) -> None:
    Running(study).close()
    with pytest.raises(Diffusion4kError) as error:
        Running(study, change)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_images_and_prompts_that_were_changed(study: Path, tmp_path: Path) -> None:
    Running(study).close()
    image = tmp_path / "images-0" / "1.png"
    before = image.read_bytes()
    Image.new("RGB", (96, 64)).save(image)
    with pytest.raises(Diffusion4kError, match=r"began: \S*images-0/1.png: the image has changed"):
        Running(study)
    image.write_bytes(before)
    metadata = tmp_path / "images-1" / "metadata.jsonl"
    texts = metadata.read_text()
    for folder in ("images-0", "images-1"):
        path = tmp_path / folder / "metadata.jsonl"
        path.write_text(texts.replace("prompt 1", "another prompt"))
    with pytest.raises(Diffusion4kError, match=r"images-0/1.png: prompt .prompt 1. before, .anot"):
        Running(study)
    shutil.copytree(tmp_path / "images-0", tmp_path / "rest")
    for folder in ("images-0", "images-1"):
        (tmp_path / folder / "metadata.jsonl").write_text(texts)
        (tmp_path / folder / "2.png").unlink()
    with pytest.raises(Diffusion4kError, match=r"what was shown as .3: .*model-1. is missing"):
        Running(study, "task.missing=skip")


def test_a_study_of_an_earlier_version_is_read(study: Path) -> None:
    """It kept a fingerprint without the keys that came later, and links without their address."""
    first = Running(study)
    person = first.join()
    person.next()
    person.reply(0, choices(person))
    first.close()
    path = study.parent / "kept" / "study.sqlite"
    with sqlite3.connect(path) as connection:
        (kept,) = connection.execute("SELECT fingerprint FROM study").fetchone()
        settings = json.loads(kept)["settings"]
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT kind FROM event").fetchall() == [("consent",)]
    # Written by the version of 30 November 2026, 00e2c17.
    assert settings["task"]["checks"] == {"identical": 1, "degraded": 2, "fastest": 1.0}
    assert sorted(settings) == ["consent", "name", "seed", "task"]
    again = Running(study, "task.checks.tolerated=0", "address=http://192.168.1.20:8765")
    assert again.study.state.people[1].done == 1
    again.close()


def test_what_may_change(study: Path, tmp_path: Path) -> None:
    Running(study).close()
    shutil.move(tmp_path / "images-0", tmp_path / "moved")
    moved = f"task.models={{model-0: {tmp_path}/moved, model-1: {tmp_path}/images-1}}"
    Running(study, moved, "title=Other", "thanks=Bye", "views=3", "participants.each=2").close()


def test_a_backup_of_a_running_study(running: Running, tmp_path: Path) -> None:
    person = running.join()
    person.next()
    person.reply(0, choices(person))
    path = tmp_path / "backup.sqlite"
    counts, digest = back_up(running.config, path)
    assert counts == {"study": 1, "participant": 1, "event": 1, "shown": 1, "answer": 3}
    assert len(digest) == 64 and path.stat().st_mode & 0o077 == 0
    assert sorted(p.name for p in tmp_path.glob("backup*")) == ["backup.sqlite"]
    with pytest.raises(UsageError, match="already exists"):
        back_up(running.config, path)
    person.next()
    person.reply(1, choices(person))
    # It is put in the place of the study and goes on where it was.
    running.study.close()
    running.store.close()
    shutil.rmtree(running.config.place)
    running.config.place.mkdir()
    shutil.copy(path, running.config.place / "study.sqlite")
    again = Running(tmp_path / "study.yaml")
    entered = again.client().post("/api/enter", json={"link": person.me["link"]})
    assert entered.json()["done"] == 1
    again.close()


def test_a_study_that_has_not_begun(study: Path, tmp_path: Path) -> None:
    with pytest.raises(Diffusion4kError, match="the study has not begun"):
        back_up(read_study(study), tmp_path / "backup.sqlite")
    assert not (tmp_path / "backup.sqlite").exists()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A PostgreSQL server on loopback, of its own user where we are root."""
    pytest.importorskip("psycopg", reason="`pip install 'psycopg[binary]'`")
    if not POSTGRES:
        pytest.skip("no PostgreSQL: `apt-get install postgresql`")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # where another user may go, too
    programs = Path(os.path.realpath(POSTGRES)).parent
    if not (programs / "initdb").exists():
        programs = max(Path("/").glob("usr/lib/postgresql/*/bin"))
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")

    data = str(folder / "data")
    run(str(programs / "initdb"), "-D", data, "-U", "study", "-A", "trust", "--no-sync")
    port = 54_000 + os.getpid() % 1000
    options = f"-h 127.0.0.1 -p {port} -k {folder}"
    run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", f"{folder}/log", "-w", "start")
    yield f"postgresql://study@127.0.0.1:{port}/postgres"
    run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder)


def test_postgresql(study: Path, database: str, tmp_path: Path) -> None:
    address = f"database={database}"
    first = Running(study, address)
    person = first.join()
    person.next()
    for _ in range(2):
        assert person.reply(0, choices(person), key="the-same-key").json()["done"] == 1
    person.reply(0, choices(person, "right"))
    with exclusive(first.config, first.store):
        other = replace_folder(first, tmp_path / "other")
        with (
            pytest.raises(Diffusion4kError, match="another server is running this study"),
            exclusive(other, open_store(other)),
        ):
            pass
    for statement in ("DELETE FROM answer", "UPDATE answer SET choice = 'tie'", "TRUNCATE answer"):
        with (
            pytest.raises(Diffusion4kError, match="rows are only ever added"),
            first.store.session() as session,
        ):
            session.connection().execute(text(statement))
    with (
        pytest.raises(Diffusion4kError, match="read-only transaction"),
        first.store.session(reading=True) as session,
    ):
        session.add(new_participant(1)[1])
    counts, _ = back_up(first.config, tmp_path / "backup.sqlite")
    assert counts["answer"] == 6
    first.close()

    again = Running(study, address)
    with again.store.session(reading=True) as session:
        assert len(read_rows(session).answers) == 6
    entered = again.client().post("/api/enter", json={"link": person.me["link"]})
    back = Person(again.client(), entered.json())
    assert back.me["done"] == 1
    # Connections that were cut are made anew.
    with again.store.session() as session:
        session.connection().execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND usename = 'study'"
            )
        )
    assert again.join().next()["position"] == 0
    again.close()
    assert not (again.config.place / "study.sqlite").exists()


def replace_folder(running: Running, folder: Path):  # type: ignore[no-untyped-def]
    return running.config.model_copy(update={"folder": str(folder)})


def test_databases_that_cannot_be_reached(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="mysql: allowed are addresses postgresql://"):
        Running(study, "database=mysql://localhost/x")
    with pytest.raises(Diffusion4kError) as error:
        Running(study, "database=postgresql://study:hidden@127.0.0.1:1/x")
    assert "cannot be reached" in str(error.value)
    assert "hidden" not in str(error.value)
    monkeypatch.setattr(postgres, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"psycopg: not installed: `pip install"):
        Running(study, "database=postgresql://study@127.0.0.1/x")


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("participant", "(9, 'link', 'no date', '')"),
        ("participant", "(9, 'link', '2030-01-01', '')"),
        ("event", "(9, 77, 'consent', '')"),
        ("shown", "(9, 77, 0, '{unit}', 0, '')"),
        ("shown", "(9, 1, 5, '{unit}', 0, '')"),
        ("answer", "(9, 77, 0, '{question}', 'left', '', 1.0, 'key', '')"),
        ("answer", "(9, 1, 99, '{question}', 'left', '', 1.0, 'key', '')"),
        ("answer", "(9, 1, -1, '{question}', 'left', '', 1.0, 'key', '')"),
        ("answer", "(9, 1, 0, 'no question', 'left', '', 1.0, 'key', '')"),
        ("answer", "(9, 1, 0, '{question}', 'up', '', 1.0, 'key', '')"),
        ("answer", "(9, 1, 0, '{question}', 'left', 'no JSON', 1.0, 'key', '')"),
    ],
)
def test_rows_that_make_no_sense_are_told_in_one_line(study: Path, table: str, values: str) -> None:
    first = Running(study)
    person = first.join()
    person.next()
    unit = first.study.state.people[1].shown[0].unit.name
    question = person.me["questions"][0]["name"]
    first.close()
    with contextlib.closing(sqlite3.connect(first.config.place / "study.sqlite")) as file, file:
        file.execute(f"INSERT INTO {table} VALUES {values.format(unit=unit, question=question)}")
    with pytest.raises(Diffusion4kError, match=f"row 9 of the database's table {table}") as error:
        Running(study)
    assert "\n" not in str(error.value)


def test_a_study_that_the_database_does_not_tell(study: Path) -> None:
    first = Running(study)
    first.close()
    with contextlib.closing(sqlite3.connect(first.config.place / "study.sqlite")) as file, file:
        file.execute("DROP TRIGGER study_no_UPDATE")
        file.execute("UPDATE study SET fingerprint = 'no JSON'")
    with pytest.raises(Diffusion4kError, match="does not say what the study was"):
        Running(study)
