"""An SQLite file behind a page: what it holds, and what can be wrong with it, in one line.

Every transaction is on the disk before it is acknowledged (`synchronous = FULL`, a rollback
journal), so that neither a killed process nor a power cut takes back what a page showed as done.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, pool
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session, SQLModel

from diffusion4k.errors import Diffusion4kError
from diffusion4k.web.sqlite import Kind, address_of, refusal

__all__ = ["Database"]


class Database:
    """An SQLite file with tables of our own, made if it is not there.

    Args:
        path: The file.
        tables: SQLModel classes, and with `triggers` SQL statements, of which a new file is made.
        kind: What the file is.
        wait: Seconds to wait for another program that is writing.

    Raises:
        Diffusion4kError: not an SQLite file, another program's, of another version, locked, or
            not to be written.
    """

    def __init__(
        self,
        path: Path,
        tables: Sequence[type[SQLModel]],
        kind: Kind,
        *,
        triggers: Sequence[str] = (),
        wait: float = 5.0,
    ) -> None:
        self._path = path
        if not path.exists():
            _touch(path)
        # Later on a file that is taken away is not made anew, as if nothing had been decided.
        self._engine = create_engine(
            f"sqlite:///{address_of(path)}&uri=true",
            connect_args={"timeout": wait},
            poolclass=pool.NullPool,
        )
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        with self.session() as session:
            connection = session.connection()
            if not _pragma(connection, "schema_version"):
                _make(connection, tables, triggers)
                connection.exec_driver_sql(f"PRAGMA application_id = {kind.application}")
            else:
                found = _pragma(connection, "application_id"), _pragma(connection, "user_version")
                kind.check(path, *found)
            # SQLite opens what it may only read without a word; better to know it now.
            connection.exec_driver_sql(f"PRAGMA user_version = {kind.version}")

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
            raise refusal(self._path, error.orig) from None


def _prepare(connection: Any, _: Any) -> None:
    # Python's module would otherwise begin transactions itself, and not where we want them.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    # Two that have both read could not both go on to write: each waits here.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _touch(path: Path) -> None:
    try:
        path.touch()
    except OSError as error:
        raise Diffusion4kError(
            f"{path}: cannot be made ({error.strerror}): check that its folder is there and may be "
            "written"
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
