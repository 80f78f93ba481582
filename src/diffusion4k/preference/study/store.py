"""Where the rows of a study are: SQLite in its folder, or a PostgreSQL database."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol, TypeVar

from sqlmodel import Session, SQLModel, col, select

from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.study.config import StudyConfig
from diffusion4k.preference.study.fingerprint import StudyFingerprint, differences
from diffusion4k.preference.study.material import Material
from diffusion4k.preference.study.tables import (
    KIND,
    POSTGRES_TRIGGERS,
    SQLITE_TRIGGERS,
    TABLES,
    AnswerRow,
    EventRow,
    ParticipantRow,
    ShownRow,
    StudyRow,
)
from diffusion4k.support.lock import locked
from diffusion4k.support.text_files import json_of
from diffusion4k.web.database import Database
from diffusion4k.web.postgres import PostgresDatabase

__all__ = [
    "DATABASE",
    "Keeping",
    "Rows",
    "begin",
    "exclusive",
    "has_begun",
    "now",
    "open_store",
    "read_rows",
]

DATABASE = "study.sqlite"
_BUSY = "another server is running this study: end it first"

Table = TypeVar("Table", bound=SQLModel)


class Keeping(Protocol):
    """A database, whichever it is."""

    def session(self, *, reading: bool = False) -> AbstractContextManager[Session]:
        """A transaction."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True)
class Rows:
    """All rows of a study, in the order in which they were added."""

    participants: list[ParticipantRow]
    events: list[EventRow]
    shown: list[ShownRow]
    answers: list[AnswerRow]


def open_store(config: StudyConfig, *, make: bool = False) -> Keeping:
    """The study's database; it must be there already, unless `make`.

    Raises:
        Diffusion4kError: it has not begun, or the database cannot be used.
    """
    if config.database:
        return PostgresDatabase(config.database, TABLES, triggers=POSTGRES_TRIGGERS)
    path = config.place / DATABASE
    if not make and not path.exists():
        raise Diffusion4kError(
            f"{path}: no such file: the study has not begun, see `diffusion4k study serve --help`"
        )
    config.place.mkdir(parents=True, exist_ok=True)
    return Database(path, TABLES, KIND, triggers=SQLITE_TRIGGERS, shared=True)


def has_begun(config: StudyConfig) -> bool:
    """Whether there is a database; of PostgreSQL it is taken for granted."""
    return bool(config.database) or (config.place / DATABASE).exists()


@contextmanager
def exclusive(config: StudyConfig, store: Keeping) -> Iterator[None]:
    """Be the only server of the study.

    Raises:
        Diffusion4kError: another one is.
    """
    with locked(config.place, other="folder", busy=_BUSY):
        if isinstance(store, PostgresDatabase):
            number = int.from_bytes(hashlib.sha256(config.name.encode()).digest()[:7], "big")
            store.hold(number, _BUSY)
        yield


def begin(
    config: StudyConfig, store: Keeping, fingerprint: StudyFingerprint, material: Material
) -> None:
    """Keep what the study is, or check that it is still what it was.

    Raises:
        Diffusion4kError: it was changed after it began, or the database holds another study.
    """
    with store.session() as session:
        row = session.exec(select(StudyRow)).first()
        if row is None:
            text = json.dumps(fingerprint, ensure_ascii=False)
            session.add(StudyRow(name=config.name, fingerprint=text, at=now()))
            return
    if row.name != config.name:
        raise Diffusion4kError(
            f"{config.place}: its database holds the study {row.name}: use another for this one"
        )
    try:
        before = json_of(row.fingerprint)
    except ValueError as error:
        raise Diffusion4kError(
            f"{config.place}: its database does not say what the study was ({error}): put a backup "
            "in its place"
        ) from None
    differences(before, json.loads(json.dumps(fingerprint)), config.place, material)


def read_rows(session: Session) -> Rows:
    """All rows."""

    def every(table: type[Table]) -> list[Table]:
        return list(session.exec(select(table).order_by(col(table.id))))  # type: ignore[attr-defined]

    return Rows(every(ParticipantRow), every(EventRow), every(ShownRow), every(AnswerRow))


def now() -> str:
    """Time in UTC, ISO 8601, with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
