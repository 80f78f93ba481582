"""A PostgreSQL database behind a page, with the same promises as `database.Database` gives.

Every transaction is on the server's disk before it is acknowledged (`synchronous_commit = on`).
Needs the extra `postgres`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlmodel import Session, SQLModel

from diffusion4k.errors import Diffusion4kError, UsageError, one_line

__all__ = ["PostgresDatabase"]

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")


class PostgresDatabase:
    """Tables of our own in a PostgreSQL database, made if they are not there.

    Args:
        address: `postgresql://USER@HOST/NAME`; a password may also come from `PGPASSWORD` or
            `~/.pgpass`, where it is in nobody's way.
        tables: SQLModel classes, and with `triggers` SQL statements, of which they are made.

    Raises:
        UsageError: no such address, or psycopg is not installed.
        Diffusion4kError: it cannot be reached, or refuses.
    """

    def __init__(
        self, address: str, tables: Sequence[type[SQLModel]], *, triggers: Sequence[str] = ()
    ) -> None:
        try:
            url = make_url(address)
        except ArgumentError:
            raise UsageError(
                f"{address}: not an address like postgresql://USER@HOST/NAME"
            ) from None
        if url.drivername not in _SCHEMES:
            raise UsageError(f"{url.drivername}: allowed are addresses postgresql://USER@HOST/NAME")
        if find_spec("psycopg") is None:
            raise UsageError("psycopg: not installed: `pip install 'diffusion4k[postgres]'`")
        self._name = url.render_as_string(hide_password=True)
        self._engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            # A connection that was lost meanwhile is opened again before it is used.
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5, "options": "-c synchronous_commit=on"},
        )
        event.listen(self._engine, "begin", _begin)
        self._lock: Connection | None = None
        with self.session() as session:
            connection = session.connection()
            if not inspect(connection).has_table(str(tables[0].__tablename__)):
                names = [str(table.__tablename__) for table in tables]
                SQLModel.metadata.create_all(
                    connection, [SQLModel.metadata.tables[name] for name in names]
                )
                for statement in triggers:
                    connection.exec_driver_sql(statement)

    @contextmanager
    def session(self, *, reading: bool = False) -> Iterator[Session]:
        """A transaction; committed, and on the disk, when the block ends without an error.

        With `reading` it may change nothing.

        Raises:
            Diffusion4kError: what PostgreSQL has against it, in one line.
        """
        try:
            engine = self._engine.execution_options(reading=reading)
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except DatabaseError as error:
            raise Diffusion4kError(f"{self._name}: {_reason(error.orig)}") from None

    def hold(self, number: int, busy: str) -> None:
        """Keep other servers out until `close`: an advisory lock, which ends with the connection.

        Raises:
            Diffusion4kError: another one holds it; `busy` says what to do.
        """
        lock = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if not lock.execute(text("SELECT pg_try_advisory_lock(:n)"), {"n": number}).scalar_one():
            lock.close()
            raise Diffusion4kError(f"{self._name}: {busy}")
        self._lock = lock

    def close(self) -> None:
        """Let go of the database."""
        if self._lock is not None:
            self._lock.close()
        self._engine.dispose()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("reading"):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ")


def _reason(error: BaseException | None) -> str:
    found = one_line(error)
    if "connect" in found or "closed" in found or "terminat" in found:
        return f"cannot be reached ({found}): check the address, and that the server runs"
    return f"PostgreSQL refuses ({found})"
