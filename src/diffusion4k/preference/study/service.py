"""A running study: what the pages ask of it, each answer acknowledged when it is on the disk."""

import asyncio
import sys
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from sqlmodel import Session, col, select
from starlette.concurrency import run_in_threadpool

from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.study.access import Refusal, Secrets, hash_of, new_participant
from diffusion4k.preference.study.config import StudyConfig
from diffusion4k.preference.study.fingerprint import fingerprint
from diffusion4k.preference.study.gallery import Gallery
from diffusion4k.preference.study.material import Material
from diffusion4k.preference.study.participants import Participant, Presentation
from diffusion4k.preference.study.replies import DECISION, SKIP, Reply, check_reply, rows_of
from diffusion4k.preference.study.state import StudyState
from diffusion4k.preference.study.store import Keeping, begin, now, read_rows
from diffusion4k.preference.study.tables import (
    CONSENT,
    OPENED,
    REVOKED,
    EventRow,
    ParticipantRow,
    ShownRow,
)
from diffusion4k.preference.study.writer import Writer

__all__ = ["EXPIRED", "Study"]

EXPIRED = "this link is no longer valid: ask whoever sent it to you for a new one"
_LOOK_EVERY = 1.0  # seconds until revoked links are checked again

Result = TypeVar("Result")


class Study:
    """All that a server of a study holds.

    Raises:
        Diffusion4kError: the study was changed after it began, or its rows cannot be read.
    """

    def __init__(self, config: StudyConfig, material: Material, store: Keeping) -> None:
        begin(config, store, fingerprint(config, material), material)
        with store.session(reading=True) as session:
            rows = read_rows(session)
        self.config, self.material = config, material
        self.state = StudyState(config, material, rows)
        self.secrets = Secrets(config.place)
        self.gallery = Gallery(material.paths(), self.secrets)
        self._writer = Writer(store)
        self._looked = -_LOOK_EVERY

    def close(self) -> None:
        """Write what is waiting."""
        self._writer.close()

    async def find(self, secret: str) -> Participant | None:
        """Participant of a personal link, even one that was made meanwhile."""
        link = hash_of(secret)
        self._looked = -_LOOK_EVERY  # Whoever enters is looked up at once.
        if known := self.state.by_link(link):
            return known

        def look(session: Session) -> ParticipantRow | None:
            return session.exec(select(ParticipantRow).where(ParticipantRow.link == link)).first()

        row = await _kept(self._writer.submit(look))
        # Another request may have found it first.
        return self.state.by_link(link) or (self.state.add(row) if row else None)

    async def check_link(self, person: Participant) -> None:
        """Look which links were revoked meanwhile, once a second at most.

        Raises:
            Refusal: this one was, or has expired.
        """
        if time.monotonic() - self._looked >= _LOOK_EVERY:
            self._looked = time.monotonic()
            query = select(EventRow.participant).where(col(EventRow.kind) == REVOKED)
            with suppress(Refusal):  # A database that cannot be read takes no answers either.
                self.state.revoke(await _kept(self._writer.submit(lambda s: list(s.exec(query)))))
        if person.expired:
            raise Refusal(403, EXPIRED)

    async def join(self) -> tuple[str, Participant]:
        """A new participant of an open study, who has consented; and the secret of the link."""
        secret, row = new_participant(self.config.participants.days)

        def keep(session: Session) -> None:
            session.add(row)
            session.flush()
            assert row.id is not None
            session.add(EventRow(participant=row.id, kind=CONSENT, at=now()))

        await _kept(self._writer.submit(keep))
        person = self.state.by_link(row.link) or self.state.add(row)
        person.opened = person.consented = True
        return secret, person

    async def open(self, person: Participant) -> None:
        """Someone opens the participant's link; the first time is kept."""
        if not person.opened:
            await _kept(self._writer.add([_event(person, OPENED)]))
            person.opened = True

    async def consent(self, person: Participant) -> None:
        """The participant agrees to take part."""
        async with person.lock:
            if not person.consented:
                await _kept(self._writer.add([_event(person, CONSENT)]))
                person.consented = True

    async def next(self, person: Participant) -> Presentation | None:
        """What the participant is to see now; None if that was all."""
        self._check_consent(person)
        await self.check_link(person)
        async with person.lock:
            shown = person.open or self.state.plan(person)
            if shown is None:
                return None
            if not shown.kept:
                row = ShownRow(
                    participant=person.number,
                    position=shown.position,
                    unit=shown.unit.name,
                    turned=shown.swapped,
                    at=now(),
                )
                await _kept(self._writer.add([row]))
                shown.kept = True
            if shown.since is None:
                shown.since = time.monotonic()
            return shown

    def earlier(self, person: Participant, position: int) -> Presentation:
        """What the participant has answered before, to look at it again.

        Raises:
            Refusal: nothing of that number was shown to them.
        """
        self._check_consent(person)
        if not 0 <= position < len(person.shown) or not person.shown[position].kept:
            raise Refusal(404, f"nothing was shown as number {position}: reload the page")
        return person.shown[position]

    async def answer(self, person: Participant, reply: Reply) -> Presentation:
        """Keep an answer, or the correction of one; what was sent twice is kept once.

        Raises:
            Refusal: it is no answer to what was shown.
            Diffusion4kError: it could not be kept.
        """
        await self.check_link(person)
        async with person.lock:
            shown = self.earlier(person, reply.position)
            if reply.key in shown.keys:
                return shown
            check_reply(self.config, reply, broken=self.gallery.is_broken(shown.unit.paths))
            if (reply.choices, reply.detail) != (shown.choices, shown.detail):
                most = None if shown.since is None else time.monotonic() - shown.since
                rows = rows_of(reply, person.number, most)
                if self.material.inspection and SKIP not in reply.choices.values():
                    await run_in_threadpool(self._decide, shown, reply, person.name)
                await _kept(self._writer.add(rows))
                shown.apply(rows)
                self.state.answered(person, shown)
            shown.keys.add(reply.key)
            return shown

    def _decide(self, shown: Presentation, reply: Reply, who: str) -> None:
        """Into the dataset's own log, first: to decide the same again adds nothing there."""
        inspection = self.material.inspection
        assert inspection is not None
        inspection.judge(
            shown.unit.name,
            "accepted" if reply.choices[DECISION] == "accepted" else "rejected",
            reason=reply.reason,
            caption=reply.caption,
            who=who,
        )

    def _check_consent(self, person: Participant) -> None:
        if not person.consented:
            raise Refusal(403, "agree to take part first: reload the page")


def _event(person: Participant, kind: str) -> EventRow:
    return EventRow(participant=person.number, kind=kind, at=now())


async def _kept(writing: "Future[Result]") -> Result:
    """What is being written is written, even if the one who asked has gone."""
    try:
        return await asyncio.shield(asyncio.wrap_future(writing))
    except Diffusion4kError as error:
        # Participants need not know where the database is.
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise Refusal(503, "the server cannot save anything at the moment") from None
