"""One who takes part, and what they were shown: as the state and the pages know them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from diffusion4k.preference.study.material import Unit
from diffusion4k.preference.study.replies import SKIP
from diffusion4k.preference.study.tables import AnswerRow
from diffusion4k.support.text_files import json_of

__all__ = ["Participant", "Presentation"]


@dataclass
class Presentation:
    """What a participant was given to see, and the answers that hold."""

    position: int
    unit: Unit
    swapped: bool
    """Whether the second image stands left."""
    kept: bool = True
    """Whether its row is on the disk."""
    since: float | None = None
    """When this server first sent it, monotonic."""
    choices: dict[str, str] = field(default_factory=dict)
    """Choices by question; empty until they are answered."""
    detail: dict[str, object] = field(default_factory=dict)
    seconds: float | None = None
    at: str = ""
    """When it was answered."""
    keys: set[str] = field(default_factory=set)
    stale: bool = False
    """Whether it was left unanswered for so long that someone else may be shown it instead."""
    counted: bool = False
    """Whether it is one of the views that its unit is to have."""

    @property
    def is_answer(self) -> bool:
        """Whether it was answered, and not passed over as an image could not be shown."""
        return bool(self.choices) and SKIP not in self.choices.values()

    def apply(self, rows: Iterable[AnswerRow]) -> None:
        """Answers that are on the disk: they hold from now on."""
        choices = dict(self.choices)
        for row in rows:
            choices[row.question] = row.choice
            self.detail = dict(json_of(row.detail)) if row.detail else {}
            self.seconds, self.at = row.seconds, row.at
            self.keys.add(row.key)
        self.choices = choices  # At once: the dashboard reads in a thread of its own.


@dataclass
class Participant:
    """One who takes part."""

    number: int
    until: datetime
    checks: dict[int, Unit]
    total: int
    """How much is shown, checks included, if it lasts."""
    opened: bool = False
    """Whether the link was ever opened."""
    consented: bool = False
    revoked: bool = False
    """Whether the owner has taken the link back."""
    flags: list[str] = field(default_factory=list)
    """Why their answers are left out, in words, see `trust.flags_of`."""
    shown: list[Presentation] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        """The pseudonym."""
        return f"p-{self.number:04d}"

    @property
    def done(self) -> int:
        """How much is answered."""
        return len(self.shown) - (self.open is not None)

    @property
    def open(self) -> Presentation | None:
        """What was shown last, if it is not answered."""
        return self.shown[-1] if self.shown and not self.shown[-1].choices else None

    @property
    def expired(self) -> bool:
        """Whether the link opens nothing any more."""
        return self.revoked or datetime.now(timezone.utc) > self.until
