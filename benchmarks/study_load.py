"""A study with 200 participants at once, whose server is killed five times: is any answer lost?

    python benchmarks/study_load.py
    python benchmarks/study_load.py --participants 20 --each 10 --kills 2

The server is a process of its own, `diffusion4k study serve`, and so are the participants: real
HTTP requests on loopback, each participant with a connection and a cookie. Each loads the page and
all its files, opens the personal link, agrees, and then for every pair asks for it, loads a tile
of both images, waits 1 to 3 seconds, and answers three questions. Meanwhile the server is killed
(SIGKILL) at random times and started again; what was not acknowledged is sent again under the same
key, as the page does.

Times are of requests that were answered. While the server is down there is no answer to time: that
is reported as seconds without a server. At the end the database is read: every acknowledged answer
must be there, once.
"""

import argparse
import asyncio
import csv
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import common
import numpy as np
import yaml
from PIL import Image

SERVE = "from diffusion4k.cli.main import main; main()"
PAGE = ("", *(f"static/{name}" for name in (
    *("icon.svg", "page.css", "study.css", "openseadragon.min.js", "linked.js", "study.js"),
    *("clock.js", "kinds.js", "outbox.js", "server.js"),
)))  # fmt: skip
QUESTIONS = ("visual_aesthetics", "prompt_adherence", "fine_details")
CSRF_HEADER = "X-CSRF-Token"


@dataclass
class Load:
    """What came of a run."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Of each answered request, by what it was for."""
    acknowledged: dict[tuple[int, int], str] = field(default_factory=dict)
    """Key of each acknowledged answer, by participant and position."""
    failed: int = 0
    """Requests without an answer, all sent again."""
    refused: Counter[int] = field(default_factory=Counter)
    """Answers other than 200, by number."""
    down: list[float] = field(default_factory=list)
    """Seconds from each kill until the server answers again."""


class Server:
    """`diffusion4k study serve`, to be killed and started again on the same port."""

    def __init__(self, study: Path) -> None:
        self._study, self._port = study, 0
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        arguments = [sys.executable, "-c", SERVE, "study", "serve", str(self._study)]
        arguments += ["--port", str(self._port)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("dashboard: "):
                self.address = line.removeprefix("dashboard: ").partition("dashboard#")[0]
                self._port = int(self.address.rstrip("/").rpartition(":")[2])
                return
        raise RuntimeError("the server did not start")

    def kill(self) -> None:
        """As a power cut would, but for the disk's cache."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Person:
    """A participant, as the page behaves."""

    def __init__(self, number: int, link: str, server: Server, load: Load, each: int) -> None:
        self._number, self._link, self._each = number, link, each
        self._server, self._load = server, load
        self._random = random.Random(number)

    async def take_part(self, pause: tuple[float, float]) -> None:
        """From the first page to the last."""
        await asyncio.sleep(self._random.uniform(0, 5))
        connector = aiohttp.TCPConnector(limit=6)
        jar = aiohttp.CookieJar(unsafe=True)  # loopback has no name
        async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as self._session:
            for path in PAGE:
                await self._ask("page", "GET", path)
            me = await self._ask("page", "POST", "api/enter", {"link": self._link})
            self._session.headers[CSRF_HEADER] = me["csrf"]
            await self._ask("page", "POST", "api/consent", {})
            while not (found := await self._ask("next", "GET", "api/next")).get("finished"):
                for picture in found["pictures"]:
                    place = f"{picture['key']}/{picture['top'] - 1}/0/0"  # as seen whole
                    await self._ask("tile", "GET", f"tiles/{place}")
                await asyncio.sleep(self._random.uniform(*pause))
                await self._answer(found["position"])

    async def _answer(self, position: int) -> None:
        key = f"{self._number:04d}-{position:04d}-{self._random.randrange(2**32):08x}"
        choices = {name: self._random.choice(("left", "right")) for name in QUESTIONS}
        body = {"position": position, "key": key, "choices": choices, "seconds": 2.0}
        await self._ask("answer", "POST", "api/answers", body)
        self._load.acknowledged[self._number, position] = key

    async def _ask(self, what: str, method: str, path: str, body: Any = None) -> Any:
        wait = 1.0
        while True:
            start = time.perf_counter()
            with suppress(aiohttp.ClientError, OSError, asyncio.TimeoutError):
                address = self._server.address + path
                async with self._session.request(method, address, json=body) as answer:
                    content = await answer.read()
                if answer.status == 200:
                    self._load.seconds[what].append(time.perf_counter() - start)
                    return await answer.json() if path.startswith("api/") else content
                self._load.refused[answer.status] += 1
                if answer.status < 500 and answer.status != 429:
                    raise RuntimeError(f"{method} {path}: {answer.status} {content!r}")
            self._load.failed += 1
            await asyncio.sleep(wait * self._random.uniform(0.5, 1.5))
            wait = min(2 * wait, 8)


def make_study(folder: Path, each: int, side: int) -> Path:
    """A study of two models with `each` prompts, and no attention checks, so that all see all."""
    rng = np.random.default_rng(0)
    models = {}
    for model in ("one", "two"):
        models[model] = str(folder / model)
        (folder / model).mkdir()
        for number in range(each):
            coarse = rng.integers(0, 256, (side // 16, side // 16, 3), np.uint8)
            image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
            image.save(folder / model / f"{number:03d}.jpg", quality=90)
    (folder / "prompts.txt").write_text("".join(f"prompt {number}\n" for number in range(each)))
    content = {
        "name": "load",
        "title": "Load",
        "folder": str(folder / "kept"),
        "task": {
            "kind": "pairwise",
            "models": models,
            "prompts": str(folder / "prompts.txt"),
            "checks": {"identical": 0, "degraded": 0},
        },
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


async def run(
    server: Server, links: list[str], each: int, kills: int, pause: tuple[float, float]
) -> Load:
    """All participants at once, and the kills meanwhile."""
    load = Load()
    people = [
        Person(number, link, server, load, each) for number, link in enumerate(links, start=1)
    ]
    ends = asyncio.gather(*(person.take_part(pause) for person in people))
    dice = random.Random(0)
    total = len(links) * each
    for number in range(kills):
        # At random within its share of the work.
        goal = total * (number + dice.uniform(0.3, 0.9)) / kills
        while len(load.acknowledged) < goal and not ends.done():
            await asyncio.sleep(0.01)
        await asyncio.sleep(dice.uniform(0, 0.5))
        start = time.perf_counter()
        server.kill()
        await asyncio.to_thread(server.start)
        load.down.append(time.perf_counter() - start)
    await ends
    return load


def check(database: Path, load: Load, participants: int, each: int) -> dict[str, int]:
    """Count what is in the database against what was acknowledged."""
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute("SELECT participant, position, question, key FROM answer")
        found = Counter(
            (participant, position, question) for participant, position, question, _ in rows
        )
        rows = connection.execute("SELECT participant, position, key FROM answer ORDER BY id")
        keys = {(participant, position): key for participant, position, key in rows}
    lost = sum(keys.get(place) != key for place, key in load.acknowledged.items())
    doubled = sum(count - 1 for count in found.values())
    return {
        "answers": len(keys),
        "expected": participants * each,
        "acknowledged": len(load.acknowledged),
        "lost": lost,
        "doubled": doubled,
        "incomplete": len(keys) * len(QUESTIONS) - len(found),
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    found = np.percentile(seconds, [50, 95, 99, 100]) * 1000
    return {"requests": len(seconds)} | dict(
        zip(("p50", "p95", "p99", "most"), np.round(found, 1).tolist(), strict=True)
    )


def measure(
    folder: Path, participants: int, each: int, kills: int, pause: tuple[float, float], side: int
) -> dict[str, Any]:
    """The whole of it."""
    study = make_study(folder, each, side)
    links = folder / "links.csv"
    subprocess.run(
        [
            *(sys.executable, "-c", SERVE, "study", "links", str(study)),
            *("--count", str(participants), "--out", str(links)),
        ],
        check=True,
    )
    with links.open() as handle:
        secrets = [row["link"].partition("#")[2] for row in csv.DictReader(handle)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    server = Server(study)
    start = time.perf_counter()
    try:
        load = asyncio.run(run(server, secrets, each, kills, pause))
    finally:
        server.kill()
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    times = {what: percentiles(found) for what, found in load.seconds.items()}
    together = [*load.seconds["page"], *load.seconds["next"], *load.seconds["answer"]]
    return {
        "participants": participants,
        "kills": kills,
        "seconds": round(seconds, 1),
        "processor seconds of the server": round(
            used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1
        ),
        "pages and answers, ms": percentiles(together),
        "by request, ms": times,
        "sent again": load.failed,
        "refused": dict(load.refused),
        "seconds without a server": [round(each, 1) for each in load.down],
    } | check(folder / "kept" / "study.sqlite", load, participants, each)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--participants", type=int, default=200)
    parser.add_argument("--each", type=int, default=50, help="pairs that each sees")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--side", type=int, default=1024, help="pixels a side of the images")
    parser.add_argument("--pause", type=float, nargs=2, default=(1.0, 3.0), help="seconds to look")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(
            Path(folder),
            options.participants,
            options.each,
            options.kills,
            tuple(options.pause),
            options.side,
        )
    for name, value in result.items():
        print(f"{name}: {value}")
    wrong = result["lost"] or result["doubled"] or result["incomplete"]
    if wrong or result["answers"] != result["expected"]:
        sys.exit("answers are not as they were acknowledged")
    common.save("study_load", result)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
