"""The rows of a study. They are only ever added: triggers refuse to change or to delete any.

What holds follows from all rows in the order of their ids, not of their times, as clocks are set.
An answer that is corrected is another row of higher `id`; the earlier one stays.
"""

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from diffusion4k.web.sqlite import DatabaseKind

__all__ = [
    "CONSENT",
    "KIND",
    "LINK",
    "OPENED",
    "POSTGRES_TRIGGERS",
    "REVOKED",
    "SQLITE_TRIGGERS",
    "TABLES",
    "AnswerRow",
    "EventRow",
    "ParticipantRow",
    "ShownRow",
    "StudyRow",
]

CONSENT, OPENED, REVOKED = "consent", "opened", "revoked"
"""Events: someone agreed to take part, opened the link, or the owner has taken it back."""
LINK = "link "
"""The event of a link that was made; the study's address in it follows."""
KIND = DatabaseKind(application=0x44344B32, version=1)  # "D4K2"


class StudyRow(SQLModel, table=True):
    """What the study was when it began."""

    __tablename__ = "study"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    fingerprint: str
    """JSON, see `fingerprint`."""
    at: str


class ParticipantRow(SQLModel, table=True):
    """One who takes part: a number, and the SHA-256 of the personal link's secret."""

    __tablename__ = "participant"

    id: int | None = Field(default=None, primary_key=True)
    link: str = Field(unique=True)
    until: str
    """When the link expires, UTC."""
    at: str


class EventRow(SQLModel, table=True):
    """What happened beside answers: `CONSENT`, `OPENED`, `REVOKED`, or `LINK` and an address."""

    __tablename__ = "event"
    __table_args__ = (UniqueConstraint("participant", "kind"),)

    id: int | None = Field(default=None, primary_key=True)
    participant: int = Field(foreign_key="participant.id")
    kind: str
    at: str


class ShownRow(SQLModel, table=True):
    """What a participant was given to see, as number `position` of all that they see."""

    __tablename__ = "shown"
    __table_args__ = (UniqueConstraint("participant", "position"),)

    id: int | None = Field(default=None, primary_key=True)
    participant: int = Field(foreign_key="participant.id")
    position: int
    unit: str
    """Name of the pair, patch or candidate."""
    turned: bool
    """Whether the second of a pair stood left."""
    at: str


class AnswerRow(SQLModel, table=True):
    """The answer to one question about what was shown."""

    __tablename__ = "answer"
    __table_args__ = (UniqueConstraint("participant", "position", "question", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    participant: int = Field(foreign_key="participant.id")
    position: int
    question: str
    choice: str
    """`left`, `right` or `tie`; of a patch 1 to 10; of a candidate `accepted` or `rejected`."""
    detail: str
    """JSON: reason and caption of a candidate; else empty."""
    seconds: float | None
    key: str
    """The page's own for each sending: what is sent twice is kept once."""
    at: str


TABLES: list[type[SQLModel]] = [StudyRow, ParticipantRow, EventRow, ShownRow, AnswerRow]
_NAMES = [str(table.__tablename__) for table in TABLES]

SQLITE_TRIGGERS = [
    f"CREATE TRIGGER {name}_no_{verb} BEFORE {verb} ON {name} "
    "BEGIN SELECT RAISE(ABORT, 'rows are only ever added'); END"
    for name in _NAMES
    for verb in ("UPDATE", "DELETE")
]

POSTGRES_TRIGGERS = [
    "CREATE OR REPLACE FUNCTION only_added() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'rows are only ever added'; END $$",
    *(
        f"CREATE TRIGGER {name}_only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
        "FOR EACH STATEMENT EXECUTE FUNCTION only_added()"
        for name in _NAMES
    ),
]
