"""The commands of a study: check it, make links, serve it, take answers out, back it up."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlmodel import col, select

from diffusion4k.errors import UsageError
from diffusion4k.files import atomic_path
from diffusion4k.preference.study.access import new_participant
from diffusion4k.preference.study.app import create_app
from diffusion4k.preference.study.board import Board
from diffusion4k.preference.study.config import StudyConfig
from diffusion4k.preference.study.export import export
from diffusion4k.preference.study.material import Material, find_material
from diffusion4k.preference.study.service import Study
from diffusion4k.preference.study.store import Rows, exclusive, now, open_store, read_rows
from diffusion4k.preference.study.tables import REVOKED, EventRow, ParticipantRow
from diffusion4k.web.protection import is_loopback
from diffusion4k.web.serve import check_proxies, listen, serve

__all__ = ["describe", "make_links", "origin_of", "revoke_links", "run", "take_out"]


def describe(config: StudyConfig) -> list[str]:
    """What the study shows, in a few lines; looks at every folder but begins nothing.

    Raises:
        Diffusion4kError: what is wrong with it.
    """
    material = find_material(config)
    board = Board(config, material, Rows([], [], [], []))
    units, people = len(material.units), config.participants
    each = min(people.each or units, units)
    what = {"pairwise": "pairs of images", "rating": "patches", "inspection": "candidates"}
    lines = [f"{config.name}: {units} {what[config.task.kind]}"]
    checks = board.checks_each
    lines.append(f"each participant sees {each}" + (f" and {checks} checks" if checks else ""))
    if views := board.views:
        lines.append(f"{-(-units * views // each)} participants show each {views} times")
    return lines + [f"note: {note}" for note in material.notes]


def make_links(config: StudyConfig, count: int, path: Path, address: str) -> None:
    """Add participants and write their links, which cannot be written again: only hashes are kept.

    Raises:
        UsageError: the file is there already.
    """
    if path.exists():
        raise UsageError(f"{path}: is there already, with links that only it holds: name another")
    store = open_store(config, make=True)
    made = [new_participant(config.participants.days) for _ in range(count)]
    # The file gets its name when the rows are kept: a link without a row would open nothing.
    try:
        with atomic_path(path) as temporary, temporary.open("w", newline="") as handle:
            temporary.chmod(0o600)
            with store.session() as session:
                session.add_all(row for _, row in made)
                session.flush()
                writer = csv.writer(handle)
                writer.writerow(("participant", "link", "until"))
                for secret, row in made:
                    writer.writerow((f"p-{row.id:04d}", f"{address}/#{secret}", row.until))
                handle.flush()
    finally:
        store.close()


def revoke_links(config: StudyConfig, names: Sequence[str]) -> None:
    """Participants' links are good no more, also on a running server, within a second.

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
                    f"--revoke {unknown[0]}: no such participant: names stand in the file of links "
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
    store = open_store(config)
    try:
        with store.session(reading=True) as session:
            rows = read_rows(session)
    finally:
        store.close()
    return export(config, Board(config, find_material(config), rows), path)


def run(
    config: StudyConfig, *, host: str, port: int, address: str | None, proxies: Sequence[str]
) -> None:
    """Print the addresses and serve the study until Ctrl-C.

    Raises:
        Diffusion4kError: the study was changed after it began, or cannot be kept.
        UsageError: what is not there, or a port that is taken.
    """
    check_proxies(proxies)
    with listen(host, port) as bound:
        material = find_material(config)
        _say(material)
        store = open_store(config, make=True)
        with exclusive(config, store):
            study = Study(config, material, store)
            number = bound.getsockname()[1]
            cookie = "diffusion4k-study" if address else f"diffusion4k-study-{number}"
            app = create_app(study, host=host, cookie=cookie, origin=address)
            if not is_loopback(host) and not (address or "").startswith("https:"):
                print(
                    f"warning: {host} can be reached from other machines and nothing is encrypted: "
                    "put a proxy with HTTPS before it and name it by --address",
                    file=sys.stderr,
                )
            name = f"[{host}]" if ":" in host else host
            public = address or f"http://{name}:{number}"
            people = study.board.people.values()
            done = sum(person.done for person in people)
            print(f"{config.name}: {len(people)} participants, {done} answered; Ctrl-C ends")
            if config.participants.open:
                print(f"open to all: {public}/")
            print(f"dashboard: {public}/dashboard#{study.secrets.owner}", flush=True)
            # Each answer and each tile passes from one thread to another; with the usual 5 ms of
            # patience, whoever comes back from a system call waits that long for Python's lock.
            sys.setswitchinterval(0.0005)
            try:
                serve(app, bound, proxies)
            finally:
                study.close()
                store.close()
            print(f"{sum(person.done for person in people)} answered")


def origin_of(address: str) -> str:
    """A public address as browsers name it: scheme and host alone.

    Raises:
        UsageError: it is another kind of address, or leads to a folder.
    """
    scheme, separator, rest = address.rstrip("/").partition("://")
    if scheme not in ("http", "https") or not separator or not rest or set(rest) & set("/?#@ "):
        raise UsageError(f"--address {address}: allowed is http(s)://NAME or http(s)://NAME:PORT")
    return f"{scheme}://{rest.lower()}"


def _say(material: Material) -> None:
    for note in material.notes:
        print(f"note: {note}", file=sys.stderr)
