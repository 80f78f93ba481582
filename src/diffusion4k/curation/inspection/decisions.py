"""What a person decided about candidates: a log in SQLite to which rows are only ever added.

Table `decision` of `decisions.sqlite`:

    id            row number, rising
    name          the candidate's name in the dataset
    picture_hash  of the picture that was shown; null if none was known
    decision      accepted, rejected or undecided
    reason        why it was rejected; null if none was given
    caption       the caption as the person wrote it; null if it is as it was
    at            time, UTC, ISO 8601
    who           the user's name on the machine
    undoes        id of the row that this one takes back; null for all others

Every row is all that holds for its name from then on; of a name, the latest row counts. Taking a
row back adds one that says what held before it. Triggers refuse to change or delete rows.

Reading needs nothing but Python: a dataset is also built where no page can be shown.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffusion4k.web.sqlite import DatabaseKind, address_of, refusal

__all__ = ["KIND", "Decision", "Verdict", "latest_decisions"]

KIND = DatabaseKind(application=0x44344B31, version=1)  # "D4K1"

Verdict = Literal["accepted", "rejected", "undecided"]

_NOTHING = ("undecided", None, None)
_COLUMNS = "name, picture_hash, decision, reason, caption, at, who"


@dataclass(frozen=True)
class Decision:
    """What holds for a candidate."""

    name: str
    picture_hash: str | None
    """Hash of the picture that was shown: the decision is about no other."""
    decision: Verdict
    reason: str | None
    caption: str | None
    """The corrected caption; None where it is as it was."""
    at: str
    who: str

    @property
    def says(self) -> tuple[object, ...]:
        """All but when and by whom; empty if it says nothing."""
        what = (self.decision, self.reason, self.caption)
        return () if what == _NOTHING else (self.picture_hash, *what)


def latest_decisions(path: Path) -> dict[str, Decision]:
    """What holds now, by the candidate's name; empty if there is no such file.

    Nothing is written. A decision `undecided` stands for a caption that was corrected, or for one
    that was taken back: as if nobody had looked.

    Raises:
        Diffusion4kError: the file is no log of decisions, or of another version.
    """
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        return {}  # An empty file is what a kill at the very start leaves behind.
    try:
        with closing(sqlite3.connect(address_of(path), uri=True)) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            KIND.check(path, application, version)
            rows = connection.execute(f"SELECT {_COLUMNS} FROM decision ORDER BY id")
            return {row[0]: Decision(*row) for row in rows}
    except sqlite3.Error as error:
        raise refusal(path, error) from None
