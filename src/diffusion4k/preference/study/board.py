"""Who has seen and answered what, in memory: read from the rows at the start, then kept in step.

Only the server's event loop changes it, so nothing here needs a lock.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from random import Random
from typing import Any

from sqlmodel import SQLModel

from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.answers import Check
from diffusion4k.preference.study.checks import check_positions
from diffusion4k.preference.study.config import InspectionTask, PairwiseTask, StudyConfig
from diffusion4k.preference.study.design import Cell, Design
from diffusion4k.preference.study.material import Material, Unit
from diffusion4k.preference.study.replies import SKIP, allowed
from diffusion4k.preference.study.store import Rows
from diffusion4k.preference.study.tables import REVOKED, AnswerRow, ParticipantRow, ShownRow
from diffusion4k.text_files import json_of, shortened

__all__ = ["Board", "Participant", "Shown"]

LEFT_AFTER = 30 * 60.0
"""Seconds without an answer after which another participant may be shown the same instead."""


@dataclass
class Shown:
    """What a participant was given to see, and the answers that hold."""

    position: int
    unit: Unit
    turned: bool
    """Whether the second image stands left."""
    kept: bool = True
    """Whether its row is on the disk."""
    since: float | None = None
    """When this server first sent it, monotonic."""
    choices: dict[str, str] = field(default_factory=dict)
    """By question; empty until it is answered."""
    detail: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    at: str = ""
    """When it was answered."""
    keys: set[str] = field(default_factory=set)
    released: bool = False
    """Whether someone else may be shown it instead."""

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
    consented: bool = False
    revoked: bool = False
    """Whether the owner has taken the link back."""
    shown: list[Shown] = field(default_factory=list)
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
    def open(self) -> Shown | None:
        """What was shown last, if it is not answered."""
        return self.shown[-1] if self.shown and not self.shown[-1].choices else None

    @property
    def expired(self) -> bool:
        """Whether the link is good no more."""
        return self.revoked or datetime.now(timezone.utc) > self.until


class Board:
    """All participants of a study and the balance of what they see."""

    def __init__(self, config: StudyConfig, material: Material, rows: Rows) -> None:
        self._config, self._material = config, material
        self._numbers = {unit.name: number for number, unit in enumerate(material.units)}
        self.views = 1 if isinstance(config.task, InspectionTask) else config.views
        """How many people see each unit at most."""
        cells = [Cell(" | ".join(u.models), u.prompt_id) for u in material.units]
        self.design = Design(cells, views=self.views, seed=config.seed)
        self.people: dict[int, Participant] = {}
        self._by_link: dict[str, Participant] = {}
        for person in rows.participants:
            with self._making_sense(person):
                self.add(person)
        for event in rows.events:
            with self._making_sense(event):
                taker = self.people[event.participant]
                taker.consented |= event.kind == "consent"
        self.revoke(event.participant for event in rows.events if event.kind == REVOKED)
        for shown in rows.shown:
            with self._making_sense(shown):
                self._restore(shown)
        choices = {name: {*known, SKIP} for name, known in allowed(config).items()}
        for answer in rows.answers:
            with self._making_sense(answer):
                if answer.position < 0 or answer.choice not in choices[answer.question]:
                    raise ValueError(f"{answer.position}: {shortened(answer.choice)}")
                self.people[answer.participant].shown[answer.position].apply([answer])

    @contextmanager
    def _making_sense(self, row: SQLModel) -> Iterator[None]:
        try:
            yield
        except (LookupError, OverflowError, TypeError, ValueError) as error:
            raise Diffusion4kError(
                f"{self._config.place}: row {getattr(row, 'id', None)} of the database's table "
                f"{row.__tablename__} makes no sense ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:100]}): put a backup in its place"
            ) from None

    def add(self, row: ParticipantRow) -> Participant:
        """Another participant."""
        assert row.id is not None
        each = min(self._config.participants.each or len(self._numbers), len(self._numbers))
        checks = check_positions(
            self._counts(), each, self._material.checks, self._config.seed, row.id
        )
        until = datetime.fromisoformat(row.until)
        if until.tzinfo is None:
            raise ValueError(f"until {row.until}: without a time zone")
        person = Participant(row.id, until, checks, each + len(checks))
        self.people[row.id] = self._by_link[row.link] = person
        return person

    @property
    def checks_each(self) -> int:
        """Attention checks that each participant sees."""
        return sum(self._counts().values())

    def by_link(self, link: str) -> Participant | None:
        """Whose link has this hash."""
        return self._by_link.get(link)

    def revoke(self, numbers: Iterable[int]) -> None:
        """These participants' links are good no more; what they have answered stays."""
        for number in numbers:
            if person := self.people.get(number):
                person.revoked = True

    def plan(self, person: Participant) -> Shown | None:
        """What comes next for a participant who has answered all until now; it counts as shown.

        None if there is nothing left.
        """
        self._release()
        position = len(person.shown)
        if unit := person.checks.get(position):
            turned = Random(f"{self._config.seed}/{person.number}/{position}").random() < 0.5
        elif position >= person.total or (chosen := self.design.choose(person.number)) is None:
            return None
        else:
            number, turned = chosen
            unit = self._material.units[number]
            self.design.give(person.number, number, turned)
        person.shown.append(Shown(position, unit, turned, kept=False))
        return person.shown[-1]

    def answered(self, shown: Shown) -> None:
        """An answer to it is on the disk."""
        if shown.released:
            shown.released = False
            self.design.retain(self._numbers[shown.unit.name], shown.turned)

    def _release(self) -> None:
        """What was left unanswered for long is to be seen by others."""
        now = time.monotonic()
        for person in self.people.values():
            shown = person.open
            if shown is None or shown.released or shown.unit.check:
                continue
            shown.since = now if shown.since is None else shown.since
            if now - shown.since > LEFT_AFTER:
                shown.released = True
                self.design.release(self._numbers[shown.unit.name], shown.turned)

    def _counts(self) -> dict[Check, int]:
        task = self._config.task
        if not isinstance(task, PairwiseTask):
            return {}
        return {"identical": task.checks.identical, "degraded": task.checks.degraded}

    def _restore(self, row: ShownRow) -> None:
        unit = self._material.by_name.get(row.unit)
        if unit is None:
            raise Diffusion4kError(
                f"{self._config.place}: {row.unit!r} was shown and is no part of the study now: "
                "put its images back"
            )
        shown = self.people[row.participant].shown
        if row.position != len(shown):
            raise ValueError(f"position {row.position} after {len(shown)} others")
        shown.append(Shown(row.position, unit, row.turned))
        if not unit.check:
            self.design.give(row.participant, self._numbers[row.unit], row.turned)
