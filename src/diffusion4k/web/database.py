"""An SQLite file behind a page: what it holds, and what can be wrong with it, in one line.

Every transaction is on the disk before it is acknowledged (`synchronous = FULL`, a rollback
journal), so that neither a killed process nor a power cut takes back what a page showed as done.
`application_id` says whose file it is, `user_version` which version of its tables.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, pool
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session, SQLModel

from diffusion4k.errors import Diffusion4kError

__all__ = ["Database"]


class Database:
    """An SQLite file with tables of our own.

    Args:
        path: The file.
        tables: SQLModel classes, and with `triggers` SQL statements, of which a new file is made.
        application: The file's `application_id`.
        version: Its `user_version`.
        create: Make the file if it is not there; else it must be.
        wait: Seconds to wait for another program that is writing.

    Raises:
        Diffusion4kError: not an SQLite file, another program's, of another version, locked, or
            not to be written though `create` asks for it.
    """

    def __init__(
        self,
        path: Path,
        tables: Sequence[type[SQLModel]],
        *,
        application: int,
        version: int,
        triggers: Sequence[str] = (),
        create: bool = True,
        wait: float = 5.0,
    ) -> None:
        self._path = path
        self._writes = create
        self._engine = _engine(path, "rwc" if create else "rw", wait)
        event.listen(self._engine, "connect", self._prepare)
        event.listen(self._engine, "begin", self._begin)
        with self.session() as session:
            connection = session.connection()
            found = _pragma(connection, "application_id"), _pragma(connection, "user_version")
            if create and found == (0, 0) and not _pragma(connection, "schema_version"):
                _make(connection, tables, triggers, application, version)
            elif found[0] != application:
                raise Diffusion4kError(f"{path}: another program's database: move it away")
            elif found[1] != version:
                raise Diffusion4kError(
                    f"{path}: version {found[1]} of its tables, known here is {version}: use the "
                    "diffusion4k that wrote it, or move the file away to begin anew"
                )
            elif create:
                # SQLite opens what it may only read without a word; better to know it now.
                connection.exec_driver_sql(f"PRAGMA user_version = {version}")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction; committed, and on the disk, when the block ends without an error.

        Raises:
            Diffusion4kError: what SQLite has against it, in one line.
        """
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except DatabaseError as error:
            raise Diffusion4kError(f"{self._path}: {_reason(error)}") from None

    def _prepare(self, connection: Any, _: Any) -> None:
        # Python's module would otherwise begin transactions itself, and not where we want them.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")

    def _begin(self, connection: Connection) -> None:
        # Two that have both read could not both go on to write: a writer waits here.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if self._writes else "BEGIN")


def _engine(path: Path, mode: str, wait: float) -> Engine:
    return create_engine(
        # `as_uri` escapes what has a meaning in an address.
        f"sqlite:///{path.absolute().as_uri()}?mode={mode}&uri=true",
        connect_args={"timeout": wait},
        poolclass=pool.NullPool,
    )


def _make(
    connection: Connection,
    tables: Sequence[type[SQLModel]],
    triggers: Sequence[str],
    application: int,
    version: int,
) -> None:
    SQLModel.metadata.create_all(connection, [SQLModel.metadata.tables[_name(t)] for t in tables])
    for statement in triggers:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA application_id = {application}")
    connection.exec_driver_sql(f"PRAGMA user_version = {version}")


def _name(table: type[SQLModel]) -> str:
    return str(table.__tablename__)


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())


def _reason(error: DatabaseError) -> str:
    found = " ".join(str(error.orig).split())
    if "locked" in found:
        return "another program is writing to it: close that, then try again"
    if "readonly" in found:
        return "may not be written: check the rights of the file and its folder"
    if "unable to open" in found:
        return "cannot be opened: check that its folder is there and may be written"
    if "not a database" in found or "malformed" in found:
        return f"not a sound SQLite database ({found}): move it away"
    if "full" in found:
        return "the disk is full: make room, then try again"
    return f"SQLite refuses ({found})"
