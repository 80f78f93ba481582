"""Small studies: folders of drawn images, a YAML, and a client that behaves like the page."""

import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from sqlmodel import select
from starlette.testclient import TestClient

from diffusion4k.preference.study import access
from diffusion4k.preference.study.app import create_app
from diffusion4k.preference.study.config import StudyConfig, read_study
from diffusion4k.preference.study.material import find_material
from diffusion4k.preference.study.service import Study
from diffusion4k.preference.study.store import open_store
from diffusion4k.web.session import CSRF_HEADER
from tests.data.fake import picture


def make_images(
    folder: Path, count: int, seed: int, size: tuple[int, int] = (96, 64), first: int = 0
) -> Path:
    """Images `0.png`, `1.png`, ... of the prompts "prompt 0", ..., in a `metadata.jsonl`."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(first, first + count):
        image: Image.Image = picture(size, seed=1000 * seed + number)
        image.save(folder / f"{number}.png", compress_level=1)
        rows.append({"file_name": f"{number}.png", "text": f"prompt {number}"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def make_study(
    folder: Path,
    *,
    prompts: int = 3,
    models: int = 2,
    size: tuple[int, int] = (96, 64),
    task: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """A pairwise study of models `model-0`, ...; its YAML."""
    folders = {
        f"model-{m}": str(make_images(folder / f"images-{m}", prompts, m, size))
        for m in range(models)
    }
    content = {
        "name": "fake",
        "title": "A fake study",
        "folder": str(folder / "kept"),
        "task": {"kind": "pairwise", "models": folders, **(task or {})},
        **settings,
    }
    return write_study(folder, content)


def write_study(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


class Running:
    """A study whose server runs inside this process."""

    def __init__(self, path: Path, *overrides: str, origin: str | None = None) -> None:
        self.config: StudyConfig = read_study(path, list(overrides))
        self.store = open_store(self.config, make=True)
        self.study = Study(self.config, find_material(self.config), self.store)
        self.app = create_app(self.study, host="127.0.0.1", cookie="key", origin=origin)
        self.base = origin or "http://127.0.0.1:8765"

    def client(self) -> TestClient:
        """A browser that has been nowhere yet."""
        return TestClient(self.app, base_url=self.base)

    def join(self) -> "Person":
        """A new participant of an open study."""
        client = self.client()
        joined = client.post("/api/join", json={})
        assert joined.status_code == 200, joined.text
        return Person(client, joined.json())

    def owner(self) -> TestClient:
        """A browser in which the dashboard was opened."""
        client = self.client()
        entered = client.post("/api/owner/enter", json={"token": self.study.secrets.owner})
        assert entered.status_code == 200
        return client

    def close(self) -> None:
        self.study.close()
        self.store.close()


class Person:
    """A participant in a browser."""

    def __init__(self, client: TestClient, me: dict[str, Any]) -> None:
        self.client, self.me = client, me
        client.headers[CSRF_HEADER] = me["csrf"]
        self.sent = 0

    def next(self) -> dict[str, Any]:
        answer = self.client.get("/api/next")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def reply(self, position: int, choices: dict[str, str], **more: Any) -> Any:
        self.sent += 1
        body = {
            "position": position,
            "key": f"key-{self.sent:08d}",
            "choices": choices,
            "seconds": 1.5,
        }
        return self.client.post("/api/answers", json=body | more)


def rows(running: Running, table: Any) -> list[Any]:
    with running.store.session(reading=True) as session:
        return list(session.exec(select(table).order_by(table.id)))


def choices(person: Person, value: str = "left") -> dict[str, str]:
    return {question["name"]: value for question in person.me["questions"]}


def invited(running: Running, days: int = 30) -> str:
    """The secret of a personal link, made beside the server as `study links` does."""
    secret, row = access.new_participant(days)
    with running.store.session() as session:
        session.add(row)
    return secret
