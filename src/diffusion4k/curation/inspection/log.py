"""The log of decisions as the server keeps it (see `decisions` for what it holds)."""

import getpass
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

from sqlmodel import Field, Session, SQLModel, col, select

from diffusion4k.curation.inspection.decisions import KIND, Decision, Verdict
from diffusion4k.web.database import Database

__all__ = ["DecisionLog", "DecisionRow"]

_APPEND_ONLY = [
    f"CREATE TRIGGER no_{verb} BEFORE {verb} ON decision "
    "BEGIN SELECT RAISE(ABORT, 'decisions are only ever added'); END"
    for verb in ("UPDATE", "DELETE")
]


class DecisionRow(SQLModel, table=True):
    """A row of the log."""

    __tablename__ = "decision"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)
    picture_hash: str | None
    decision: str
    reason: str | None
    caption: str | None
    at: str
    who: str
    undoes: int | None = None


class DecisionLog:
    """The log as a server uses it: from several threads, and beside others that add to it."""

    def __init__(self, path: Path, *, wait: float = 5.0) -> None:
        self._database = Database(path, [DecisionRow], KIND, triggers=_APPEND_ONLY, wait=wait)
        self._lock = threading.Lock()
        self._seen = 0
        self._latest: dict[str, Decision] = {}
        # Rows that were not taken back: their id, name, and what held before them.
        self._standing: list[tuple[int, str, Decision | None]] = []
        self._times: list[datetime] = []

    def latest(self) -> dict[str, Decision]:
        """What holds now, by the candidate's name."""
        with self._lock, self._database.session() as session:
            self._catch_up(session)
            return dict(self._latest)

    def latest_of(self, name: str) -> Decision | None:
        """What holds now for one candidate."""
        with self._lock, self._database.session() as session:
            self._catch_up(session)
            return self._latest.get(name)

    def times(self, last: int) -> list[datetime]:
        """When the last rows were added."""
        with self._lock:
            return self._times[-last:]

    def append(
        self,
        name: str,
        picture_hash: str | None,
        decision: Verdict,
        *,
        reason: str | None = None,
        caption: str | None = None,
        who: str | None = None,
    ) -> None:
        """Add a row, unless it says what holds already. It is on the disk afterwards.

        `who` is by default the user of this machine.
        """
        row = DecisionRow(
            name=name,
            picture_hash=picture_hash,
            decision=decision,
            reason=reason,
            caption=caption,
            at=_now(),
            who=who or _user(),
        )
        with self._lock, self._database.session() as session:
            self._catch_up(session)
            before = self._latest.get(name)
            if (before.says if before else ()) != _decision(row).says:
                session.add(row)

    def undo(self) -> str | None:
        """Take back the last row that was not yet; the name it is about, None if there is none."""
        with self._lock, self._database.session() as session:
            self._catch_up(session)
            if not self._standing:
                return None
            undone, name, before = self._standing[-1]
            session.add(
                DecisionRow(
                    name=name,
                    picture_hash=before.picture_hash if before else None,
                    decision=before.decision if before else "undecided",
                    reason=before.reason if before else None,
                    caption=before.caption if before else None,
                    at=_now(),
                    who=_user(),
                    undoes=undone,
                )
            )
            return name

    def _catch_up(self, session: Session) -> None:
        unseen = select(DecisionRow).where(col(DecisionRow.id) > self._seen)
        for row in session.exec(unseen.order_by(col(DecisionRow.id))):
            number = cast(int, row.id)
            if row.undoes is None:
                self._standing.append((number, row.name, self._latest.get(row.name)))
            else:
                self._standing = [entry for entry in self._standing if entry[0] != row.undoes]
            self._latest[row.name] = _decision(row)
            self._times.append(datetime.fromisoformat(row.at))
            self._seen = number


def _decision(row: DecisionRow) -> Decision:
    verdict = cast(Verdict, row.decision)
    return Decision(row.name, row.picture_hash, verdict, row.reason, row.caption, row.at, row.who)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"  # In a container a user need not have a name.
