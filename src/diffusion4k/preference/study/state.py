"""Who has seen and answered what, in memory: read from the rows at the start, then kept in step.

Only the server's event loop changes it, so nothing here needs a lock.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from random import Random

from sqlmodel import SQLModel

from diffusion4k.errors import Diffusion4kError, one_line
from diffusion4k.preference.answers import Check
from diffusion4k.preference.study.checks import check_positions
from diffusion4k.preference.study.config import InspectionTask, PairwiseTask, StudyConfig
from diffusion4k.preference.study.design import Design, DesignCell
from diffusion4k.preference.study.material import Material
from diffusion4k.preference.study.participants import Participant, Presentation
from diffusion4k.preference.study.replies import SKIP, allowed
from diffusion4k.preference.study.store import Rows
from diffusion4k.preference.study.tables import (
    CONSENT,
    LINK,
    OPENED,
    REVOKED,
    EventRow,
    ParticipantRow,
    ShownRow,
)
from diffusion4k.preference.study.trust import flags_of
from diffusion4k.support.text_files import shortened

__all__ = ["StudyState"]

LEFT_AFTER = 30 * 60.0
"""Seconds without an answer after which another participant may be shown the same instead."""


class StudyState:
    """All participants of a study and the balance of what they see."""

    def __init__(self, config: StudyConfig, material: Material, rows: Rows) -> None:
        self._config, self._material = config, material
        self._numbers = {unit.name: number for number, unit in enumerate(material.units)}
        self.views = 1 if isinstance(config.task, InspectionTask) else config.views
        """How many people see each unit at most."""
        cells = [DesignCell(" | ".join(u.models), u.prompt_id) for u in material.units]
        self.design = Design(cells, views=self.views, seed=config.seed)
        self.people: dict[int, Participant] = {}
        self._by_link: dict[str, Participant] = {}
        for person in rows.participants:
            with self._making_sense(person):
                self.add(person)
        self.addresses: set[str] = set()
        """Addresses of the study in the links that were made, where known."""
        for event in rows.events:
            with self._making_sense(event):
                self._happened(event)
        for shown in rows.shown:
            with self._making_sense(shown):
                self._restore(shown)
        choices = {name: {*known, SKIP} for name, known in allowed(config).items()}
        for answer in rows.answers:
            with self._making_sense(answer):
                if answer.position < 0 or answer.choice not in choices[answer.question]:
                    raise ValueError(f"{answer.position}: {shortened(answer.choice)}")
                self.people[answer.participant].shown[answer.position].apply([answer])
        for participant in self.people.values():
            self._review(participant)

    @contextmanager
    def _making_sense(self, row: SQLModel) -> Iterator[None]:
        try:
            yield
        except (LookupError, OverflowError, TypeError, ValueError) as error:
            raise Diffusion4kError(
                f"{self._config.place}: row {getattr(row, 'id', None)} of the database's table "
                f"{row.__tablename__} makes no sense ({type(error).__name__}: "
                f"{one_line(error, 100)}): put a backup in its place"
            ) from None

    def add(self, row: ParticipantRow) -> Participant:
        """Another participant."""
        assert row.id is not None
        checks = check_positions(
            self._counts(), self.each, self._material.checks, self._config.seed, row.id
        )
        until = datetime.fromisoformat(row.until)
        if until.tzinfo is None:
            raise ValueError(f"until {row.until}: without a time zone")
        person = Participant(row.id, until, checks, self.each + len(checks))
        self.people[row.id] = self._by_link[row.link] = person
        return person

    @property
    def each(self) -> int:
        """How much each participant sees, checks not counted, if it lasts."""
        return min(self._config.participants.each or len(self._numbers), len(self._numbers))

    @property
    def checks_each(self) -> int:
        """Attention checks that each participant sees."""
        return sum(self._counts().values())

    @property
    def total(self) -> int:
        """How much each participant sees, checks included."""
        return self.each + self.checks_each

    def by_link(self, link: str) -> Participant | None:
        """Participant whose link has this hash."""
        return self._by_link.get(link)

    def revoke(self, numbers: Iterable[int]) -> None:
        """Let these participants' links open nothing any more.

        What they have seen is to be seen by others; what they have answered stays.
        """
        for number in numbers:
            if (person := self.people.get(number)) and not person.revoked:
                person.revoked = True
                self._review(person)

    def plan(self, person: Participant) -> Presentation | None:
        """What comes next for a participant who has answered all until now; it counts as shown.

        None if there is nothing left.
        """
        self._release()
        position = len(person.shown)
        if unit := person.checks.get(position):
            swapped = Random(f"{self._config.seed}/{person.number}/{position}").random() < 0.5
        elif position >= person.total or (chosen := self.design.choose(person.number)) is None:
            return None
        else:
            number, swapped = chosen
            unit = self._material.units[number]
        return self._show(person, Presentation(position, unit, swapped, kept=False))

    def answered(self, person: Participant, shown: Presentation) -> None:
        """An answer to it is on the disk."""
        shown.stale = False
        self._review(person)

    def is_over(self, person: Participant) -> bool:
        """Whether there is nothing (more) for a participant to see."""
        if person.done >= person.total:
            return True
        more = person.done in person.checks or self.design.is_left(person.number)
        return person.done == len(person.shown) and not more

    @property
    def views_needed(self) -> int | None:
        """The number of `views` with which everyone who is invited sees what they are to see.

        None if there are enough.
        """
        if self.views is None or isinstance(self._config.task, InspectionTask):
            return None
        wanted = 0
        for person in list(self.people.values()):
            if not (person.expired or person.flags):
                seen = sum(not shown.unit.check for shown in person.shown)
                wanted += max(person.total - len(person.checks) - seen, 0)
        needed = -(-(int(self.design.views.sum()) + wanted) // len(self.design.views))
        return needed if needed > self.views else None

    def _happened(self, event: EventRow) -> None:
        person = self.people[event.participant]
        person.consented |= event.kind == CONSENT
        person.opened |= event.kind in (OPENED, CONSENT)
        person.revoked |= event.kind == REVOKED
        if event.kind.startswith(LINK):
            self.addresses.add(event.kind.removeprefix(LINK))

    def _show(self, person: Participant, shown: Presentation) -> Presentation:
        person.shown.append(shown)
        if not shown.unit.check:
            self.design.give(person.number, self._numbers[shown.unit.name], shown.swapped)
            shown.counted = True
            self._settle(person, shown)
        return shown

    def _review(self, person: Participant) -> None:
        """Whether the participant is left out, and so whether what they have seen counts."""
        person.flags = flags_of(self._config, person)
        for shown in person.shown:
            self._settle(person, shown)

    def _settle(self, person: Participant, shown: Presentation) -> None:
        """See that it is a view of its unit, or none."""
        counts = not (shown.unit.check or shown.stale or person.flags)
        if counts != shown.counted:
            shown.counted = counts
            count = self.design.retain if counts else self.design.release
            count(self._numbers[shown.unit.name], shown.swapped)

    def _release(self) -> None:
        """What was left unanswered for long is to be seen by others."""
        now = time.monotonic()
        for person in self.people.values():
            shown = person.open
            if shown is None or shown.unit.check:
                continue
            shown.since = now if shown.since is None else shown.since
            if now - shown.since > LEFT_AFTER:
                shown.stale = True
                self._settle(person, shown)

    def _counts(self) -> dict[Check, int]:
        task = self._config.task
        if not isinstance(task, PairwiseTask):
            return {}
        return {"identical": task.checks.identical, "degraded": task.checks.degraded}

    def _restore(self, row: ShownRow) -> None:
        unit = self._material.by_name.get(row.unit)
        if unit is None:
            raise Diffusion4kError(
                f"{self._config.place}: {row.unit!r} was shown, but is not in the study any "
                "longer: put its images back"
            )
        person = self.people[row.participant]
        if row.position != len(person.shown):
            raise ValueError(f"position {row.position} after {len(person.shown)} others")
        self._show(person, Presentation(row.position, unit, row.turned))
