"""The commands of a study: check it, make links, serve it, take answers out, back it up."""

import csv
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from sqlmodel import col, select

from diffusion4k.errors import UsageError
from diffusion4k.preference.answers import Answer
from diffusion4k.preference.study.access import new_participant
from diffusion4k.preference.study.app import create_app
from diffusion4k.preference.study.config import StudyConfig
from diffusion4k.preference.study.export import answers_of, export
from diffusion4k.preference.study.material import find_material
from diffusion4k.preference.study.pace import minutes, questions_each
from diffusion4k.preference.study.service import Study
from diffusion4k.preference.study.state import StudyState
from diffusion4k.preference.study.store import (
    Rows,
    exclusive,
    has_begun,
    now,
    open_store,
    read_rows,
)
from diffusion4k.preference.study.tables import LINK, REVOKED, EventRow, ParticipantRow
from diffusion4k.support.files import atomic_path
from diffusion4k.support.wording import counted
from diffusion4k.web.protection import is_loopback, own_address, own_names
from diffusion4k.web.serve import check_proxies, listen, serve

__all__ = ["answers_in", "describe", "make_links", "revoke_links", "run", "take_out"]


def describe(config: StudyConfig) -> list[str]:
    """What the study shows, in a few lines; reads every folder but begins nothing.

    Raises:
        Diffusion4kError: what is wrong with it.
    """
    material = find_material(config)
    state = StudyState(config, material, _rows_so_far(config))
    units, each, checks = len(material.units), state.each, state.checks_each
    what = {"pairwise": "pairs of images", "rating": "patches", "inspection": "candidates"}
    beside = f" and {counted(checks, 'check')}" if checks else ""
    count, questions = state.total, questions_each(config)
    lines = [
        f"{config.name}: {units} {what[config.task.kind]}",
        f"each participant sees {each}{beside}: {count * questions} answers, about "
        f"{minutes(config, state, count)} min",
    ]
    if views := state.views:
        people = -(-units * views // each)
        lines.append(
            f"{counted(people, 'participant shows', 'participants show')} each "
            f"{'once' if views == 1 else f'{views} times'}: {units * views * questions} answers in "
            "total, checks not counted"
        )
    return lines + [f"note: {note}" for note in [*material.notes, *_views_note(state)]]


def make_links(config: StudyConfig, count: int, path: Path, address: str) -> list[str]:
    """Add participants and write their links, which cannot be written again: only hashes are kept.

    Returns what is worth to be known of them, a line each.

    Raises:
        UsageError: the file is there already.
    """
    if path.exists():
        raise UsageError(
            f"{path}: is there already, and holds the only copy of its links: name another"
        )
    store = open_store(config, make=True)
    made = [new_participant(config.participants.days) for _ in range(count)]
    # The file gets its name when the rows are kept: a link without a row would open nothing.
    try:
        with atomic_path(path) as temporary, temporary.open("w", newline="") as handle:
            temporary.chmod(0o600)
            with store.session() as session:
                session.add_all(row for _, row in made)
                session.flush()
                session.add_all(
                    EventRow(participant=row.id, kind=LINK + address, at=row.at)
                    for _, row in made
                    if row.id
                )
                writer = csv.writer(handle)
                writer.writerow(("participant", "link", "until"))
                for secret, row in made:
                    writer.writerow((f"p-{row.id:04d}", f"{address}/#{secret}", row.until))
                handle.flush()
    finally:
        store.close()
    host = urlsplit(address).hostname or ""
    if not is_loopback(host):
        return []
    return [
        f"warning: {address} opens only on this machine: for people elsewhere make links with "
        "--address, or the key `address` of the study (docs/study.md, For colleagues in one "
        "network)"
    ]


def revoke_links(config: StudyConfig, names: Sequence[str]) -> None:
    """Participants' links open nothing any more, also on a running server, within a second.

    Raises:
        UsageError: no such participant; then no link is revoked.
        Diffusion4kError: the study has not begun.
    """
    store = open_store(config)
    try:
        with store.session() as session:
            known = [row.id for row in session.exec(select(ParticipantRow)) if row.id]
            numbers = {f"p-{number:04d}": number for number in known}
            if unknown := [name for name in names if name not in numbers]:
                raise UsageError(
                    f"--revoke {unknown[0]}: no such participant: names are in the file of links "
                    "and on the dashboard, as p-0001"
                )
            is_revoked = col(EventRow.kind) == REVOKED
            before = set(session.exec(select(EventRow.participant).where(is_revoked)))
            chosen = {numbers[name] for name in names} - before
            for number in chosen:
                session.add(EventRow(participant=number, kind=REVOKED, at=now()))
    finally:
        store.close()


def take_out(config: StudyConfig, path: Path) -> int:
    """Write all answers as CSV, JSON lines or Parquet; how many there are.

    Raises:
        Diffusion4kError: the study has not begun, or its images are not all there.
    """
    return export(config, _board(config), path)


def answers_in(config: StudyConfig, *, needed: bool = True) -> list[Answer]:
    """All answers about pairs; unless they are `needed`, none of a study that has not begun.

    Raises:
        UsageError: a study that asks something else.
        Diffusion4kError: see `take_out`.
    """
    if config.task.kind != "pairwise":
        raise UsageError(
            f"{config.name}: a study of kind {config.task.kind}: reports are of pairwise studies; "
            "`diffusion4k study export` writes its answers"
        )
    if not (needed or has_begun(config)):
        return []
    return list(answers_of(config, _board(config)))


def _board(config: StudyConfig) -> StudyState:
    rows = _rows(config)  # First: a study that has not begun leaves nothing behind.
    return StudyState(config, find_material(config), rows)


def run(config: StudyConfig, *, host: str, port: int, proxies: Sequence[str]) -> None:
    """Print the addresses and serve the study until Ctrl-C.

    Links and cookies are those of its `address`, if it has one.

    Raises:
        Diffusion4kError: the study was changed after it began, or cannot be kept.
        UsageError: what is not there, or a port that is taken.
    """
    address = config.address
    check_proxies(proxies)
    with listen(host, port) as bound:
        material = find_material(config)
        _say(f"note: {note}" for note in material.notes)
        store = open_store(config, make=True)
        with exclusive(config, store):
            study = Study(config, material, store)
            number = bound.getsockname()[1]
            cookie = "diffusion4k-study" if address else f"diffusion4k-study-{number}"
            app = create_app(study, host=host, cookie=cookie, origin=address)
            public = address or f"http://{_name(own_address(host))}:{number}"
            _say(_reach(host, number, address))
            _say(_other_addresses(study.state.addresses, public, address))
            _say(f"note: {note}" for note in _views_note(study.state))
            people = study.state.people.values()
            done = sum(person.done for person in people)
            print(f"{config.name}: {len(people)} participants, {done} answered; Ctrl-C ends")
            if config.participants.open:
                print(f"open to all: {public}/")
            # Each answer and each tile passes from one thread to another; with the usual 5 ms of
            # patience, whoever comes back from a system call waits that long for Python's lock.
            sys.setswitchinterval(0.0005)
            try:
                with suppress(KeyboardInterrupt):  # It may come before the server looks for it.
                    print(f"dashboard: {public}/dashboard#{study.secrets.owner}", flush=True)
                    serve(app, bound, proxies)
            finally:
                study.close()
                store.close()
            print(f"{sum(person.done for person in people)} answered")


def _rows_so_far(config: StudyConfig) -> Rows:
    """The rows of a study that has begun; a database elsewhere is not asked, nor made."""
    begun = not config.database and has_begun(config)
    return _rows(config) if begun else Rows([], [], [], [])


def _rows(config: StudyConfig) -> Rows:
    store = open_store(config)
    try:
        with store.session(reading=True) as session:
            return read_rows(session)
    finally:
        store.close()


def _views_note(state: StudyState) -> list[str]:
    if (needed := state.views_needed) is None:
        return []
    return [
        f"more people are invited than {state.views} views have room for: raise `views` to "
        f"{needed}, or the last ones will find nothing left"
    ]


def _reach(host: str, port: int, address: str | None) -> list[str]:
    """Who can reach a server that listens on `host`, and what to be careful of."""
    if is_loopback(host):
        return []
    if address is None:
        names = ", ".join(f"http://{_name(n)}:{port}" for n in own_names(host))
        return [
            f"warning: {host} can be reached from other machines and nothing is encrypted: in a "
            f"network that you trust give one of its names as --address ({names}), elsewhere put a "
            "proxy with HTTPS before it and name that"
        ]
    if address.startswith("https:"):
        return [
            f"note: port {port} can also be reached from other machines without the proxy: "
            "--host 127.0.0.1 closes that if the proxy runs here"
        ]
    return ["note: nothing is encrypted on the way: fine in a network that you trust"]


def _other_addresses(known: set[str], public: str, address: str | None) -> list[str]:
    """Say so if links lead elsewhere."""
    if not known or public in known:
        return []
    made = ", ".join(sorted(known))
    return [
        f"warning: the links that were made lead to {made}, not to {public}: serve it there "
        f"({'--address or ' if address else '--port, --host or '}the key `address` of the study), "
        "or make new links"
    ]


def _name(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
