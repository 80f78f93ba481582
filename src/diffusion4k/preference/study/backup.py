"""A copy of a running study's rows, checked before it is called a backup.

It is an SQLite file with the same tables. SQLite copies its own pages while the server continues
writing; of a PostgreSQL database all rows are read in one transaction.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlmodel import SQLModel, col, select

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.study.config import StudyConfig
from diffusion4k.preference.study.store import DATABASE, Keeping, open_store
from diffusion4k.preference.study.tables import KIND, SQLITE_TRIGGERS, TABLES
from diffusion4k.support.files import atomic_path, sha256_of
from diffusion4k.web.database import Database
from diffusion4k.web.sqlite import address_of, refusal

__all__ = ["back_up"]


def back_up(config: StudyConfig, path: Path) -> tuple[dict[str, int], str]:
    """Write the backup, whole or not at all; rows of each table, and the file's SHA-256.

    Raises:
        UsageError: the file is there already.
        Diffusion4kError: the study has not begun, or the copy is not sound.
    """
    if path.exists():
        raise UsageError(f"{path}: already exists: name another file")
    store = open_store(config)
    try:
        before = _counts(store)
        with atomic_path(path) as temporary:
            temporary.touch(0o600)  # What people answered is for its owner.
            if config.database:
                _copy_rows(store, temporary)
            else:
                _copy_pages(config.place / DATABASE, temporary)
            found = _check(temporary)
            for table, count in before.items():
                if found[table] < count:
                    raise Diffusion4kError(
                        f"{path}: {found[table]} rows of {table}, expected {count}: try again"
                    )
    finally:
        store.close()
    return found, sha256_of(path)


def _copy_pages(source: Path, target: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(address_of(source), uri=True)) as read,
            closing(sqlite3.connect(target)) as write,
        ):
            read.backup(write)
            # One file, without a log beside it.
            write.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise refusal(target, error) from None


def _copy_rows(store: Keeping, target: Path) -> None:
    copy = Database(target, TABLES, KIND, triggers=SQLITE_TRIGGERS)
    with store.session(reading=True) as session, copy.session() as writing:
        for table in TABLES:
            for row in session.exec(_ordered(table)):
                writing.add(table(**row.model_dump()))
            writing.flush()
    copy.close()


def _check(path: Path) -> dict[str, int]:
    """Rows of each table of a sound copy."""
    try:
        with closing(sqlite3.connect(address_of(path), uri=True)) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            KIND.check(path, application, version)
            (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
            if sound != "ok" or connection.execute("PRAGMA foreign_key_check").fetchone():
                raise Diffusion4kError(f"{path}: the copy is not sound ({sound}): try again")
            names = [str(table.__tablename__) for table in TABLES]
            return {
                name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                for name in names
            }
    except sqlite3.Error as error:
        raise refusal(path, error) from None


def _counts(store: Keeping) -> dict[str, int]:
    with store.session(reading=True) as session:
        return {
            str(table.__tablename__): len(session.exec(select(table.id)).all())  # type: ignore[attr-defined]
            for table in TABLES
        }


def _ordered(table: type[SQLModel]):  # type: ignore[no-untyped-def]
    return select(table).order_by(col(table.id))  # type: ignore[attr-defined]
