"""An SQLite file behind a page: what it holds, and what can be wrong with it, in one line.

Every transaction is on the disk before it is acknowledged (`synchronous = FULL`), so that neither a
killed process nor a power cut takes back what a page showed as done.

With `shared` the file has a write-ahead log instead of a rollback journal: other programs read
while this one writes, and a transaction costs one wait for the disk instead of several. The
connection is then kept, since closing the last one folds the log into the file each time.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, event, pool
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session, SQLModel

from diffusion4k.errors import Diffusion4kError
from diffusion4k.web.sqlite import DatabaseKind, address_of, refusal

__all__ = ["Database"]


class Database:
    """An SQLite file with tables of our own, made if it is not there.

    Args:
        path: The file.
        tables: SQLModel classes, and with `triggers` SQL statements, of which a new file is made.
        kind: What the file is.
        wait: Seconds to wait for another program that is writing.
        shared: Whether others read while this one writes.

    Raises:
        Diffusion4kError: not an SQLite file, another program's, of another version, locked, or
            not to be written.
    """

    def __init__(
        self,
        path: Path,
        tables: Sequence[type[SQLModel]],
        kind: DatabaseKind,
        *,
        triggers: Sequence[str] = (),
        wait: float = 5.0,
        shared: bool = False,
    ) -> None:
        self._path = path
        self._file: int | None = None
        kind.check_file(path)
        if not path.exists():
            _touch(path)
        # A file removed later is not created again, as if nothing had been decided.
        self._engine = create_engine(
            f"sqlite:///{address_of(path)}&uri=true",
            connect_args={"timeout": wait},
            poolclass=pool.QueuePool if shared else pool.NullPool,
        )
        event.listen(self._engine, "connect", _share if shared else _prepare)
        event.listen(self._engine, "begin", _begin)
        try:
            with self.session() as session:
                self._found_or_made(session.connection(), tables, triggers, kind)
        except BaseException:
            self.close()
            raise
        if shared:
            self._file = path.stat().st_ino

    @contextmanager
    def session(self, *, reading: bool = False) -> Iterator[Session]:
        """A transaction; committed, and on the disk, when the block ends without an error.

        With `reading` it may change nothing, and others may write meanwhile.

        Raises:
            Diffusion4kError: what SQLite has against it, in one line.
        """
        self._check_file()
        try:
            engine = self._engine.execution_options(reading=reading)
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except DatabaseError as error:
            raise refusal(self._path, error.orig) from None

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def _found_or_made(
        self,
        connection: Connection,
        tables: Sequence[type[SQLModel]],
        triggers: Sequence[str],
        kind: DatabaseKind,
    ) -> None:
        if not _pragma(connection, "schema_version"):
            _make(connection, tables, triggers)
            connection.exec_driver_sql(f"PRAGMA application_id = {kind.application}")
        else:
            found = _pragma(connection, "application_id"), _pragma(connection, "user_version")
            kind.check(self._path, *found)
        # SQLite opens what it may only read without a word; better to know it now.
        connection.exec_driver_sql(f"PRAGMA user_version = {kind.version}")

    def _check_file(self) -> None:
        # A kept connection would keep writing into a file that has no name any more.
        found = self._path.stat().st_ino if self._path.exists() else None
        if self._file not in (None, found):
            raise Diffusion4kError(
                f"{self._path}: removed or replaced: put it back and start the server again"
            )


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    # Python's module would otherwise begin transactions itself, and not where we want them.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")


def _share(connection: sqlite3.Connection, _: object) -> None:
    _prepare(connection, _)
    connection.execute("PRAGMA journal_mode = WAL")


def _begin(connection: Connection) -> None:
    # Two that have both read could not both write next: each waits here.
    reading = connection.get_execution_options().get("reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _touch(path: Path) -> None:
    try:
        path.touch(0o600)  # What people answered is for its owner.
    except OSError as error:
        raise Diffusion4kError(
            f"{path}: cannot be created ({error.strerror}): check that its folder exists and is "
            "writable"
        ) from None


def _make(
    connection: Connection, tables: Sequence[type[SQLModel]], triggers: Sequence[str]
) -> None:
    names = [str(table.__tablename__) for table in tables]
    SQLModel.metadata.create_all(connection, [SQLModel.metadata.tables[name] for name in names])
    for statement in triggers:
        connection.exec_driver_sql(statement)


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
