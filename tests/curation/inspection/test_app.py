"""The page's server as a browser talks to it, and as one that means ill does."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from diffusion4k.curation.inspection.app import create_app
from diffusion4k.curation.inspection.decisions import latest_decisions
from diffusion4k.curation.inspection.inspection import Inspection
from diffusion4k.data.images import open_rgb
from diffusion4k.web.session import CSRF_HEADER, Session
from tests.curation.inspection.fake import make_dataset
from tests.web.paths import OUT_OF_STATIC


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "dataset")


@pytest.fixture
def client(dataset: Path) -> TestClient:
    """A browser that has opened the printed address."""
    session = Session()
    app = create_app(Inspection(dataset, everything=True), session, host="127.0.0.1", cookie="key")
    client = TestClient(app, base_url="http://127.0.0.1:8765")
    client.get("/", params={"token": session.token})
    client.headers[CSRF_HEADER] = session.csrf
    return client


def held(dataset: Path, name: str) -> tuple[str, str | None, str | None]:
    decision = latest_decisions(dataset / "decisions.sqlite")[name]
    return decision.decision, decision.reason, decision.caption


def test_the_page_and_all_that_it_loads(client: TestClient) -> None:
    page = client.get("/")
    assert client.headers[CSRF_HEADER] in page.text
    assert "{{" not in page.text
    for name in (
        "page.css",
        "inspect.css",
        "inspect.js",
        "draw.js",
        "zoom.js",
        "server.js",
        "icon.svg",
    ):
        assert client.get(f"/static/{name}").status_code == 200
    assert "OpenSeadragon" in client.get("/static/openseadragon.min.js").text
    # A strict policy forbids what is written into the page.
    assert " style=" not in page.text
    assert "<style" not in page.text
    assert " onclick=" not in page.text
    assert "://" not in page.text


def test_all_that_is_known_of_a_candidate(client: TestClient) -> None:
    found = client.get("/api/candidates/2").json()
    progress = found.pop("progress")
    assert progress == {"accepted": 0, "rejected": 0, "total": 4, "per_minute": None}
    assert found == {
        "number": 2,
        "name": "2.png",
        "pyramid": {"width": 96, "height": 64, "top": 7, "tile": 512, "overlap": 1},
        "problem": None,
        "split": None,
        "kept": False,
        "step": "sharpness",
        "dropped_because": "sharpness 0.7, allowed from 0.75",
        "caption": "picture number 2",
        "corrected": False,
        "decision": "undecided",
        "reason": None,
        "measures": [
            {"name": "sharpness", "value": pytest.approx(0.7), "allowed": [0.75, None]},
            {"name": "noise", "value": 7.0, "allowed": [None, 7.0]},
        ],
    }


def test_the_whole_way(client: TestClient, dataset: Path) -> None:
    start = client.get("/api/start").json()
    assert start["measures"] == ["sharpness", "noise"]
    assert len(start["reasons"]) == 9
    numbers = client.get("/api/queue", params={"show": "undecided", "order": "sharpness"}).json()
    assert numbers["numbers"] == [3, 2, 1, 0]

    body = {"decision": "rejected", "reason": start["reasons"][0]}
    after = client.post("/api/candidates/3/decision", json=body).json()
    assert (after["decision"], after["reason"]) == ("rejected", "motion blur")
    assert held(dataset, "3.png") == ("rejected", "motion blur", None)

    client.post("/api/candidates/1/caption", json={"caption": "  Ein „See“ <b>\n"})
    assert held(dataset, "1.png") == ("undecided", None, "Ein „See“ <b>")
    after = client.post("/api/candidates/1/decision", json={"decision": "accepted"}).json()
    assert (after["caption"], after["corrected"]) == ("Ein „See“ <b>", True)
    assert after["progress"]["accepted"] == after["progress"]["rejected"] == 1

    assert client.get("/api/queue?show=undecided").json()["numbers"] == [0, 2]
    for name, number in (("1.png", 1), ("1.png", 1), ("3.png", 3), (None, None)):
        undone = client.post("/api/undo").json()
        assert (undone["name"], undone["number"]) == (name, number)
    assert client.get("/api/queue?show=undecided").json()["numbers"] == [0, 1, 2, 3]


def test_the_tile_of_a_candidate(client: TestClient, tmp_path: Path) -> None:
    answer = client.get("/tiles/1/7/0/0")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    image = Image.open(io.BytesIO(answer.content))
    np.testing.assert_array_equal(image, open_rgb(tmp_path / "source" / "1.png"))


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("0/decision", {"decision": "maybe"}, "decision: Input should be 'accepted', "),
        ("0/decision", {"decision": "rejected", "reason": "ugly"}, "reason: Input should be "),
        ("0/decision", {}, "decision: Field required"),
        ("0/decision", {"decision": "accepted", "name": "x"}, "name: Extra inputs"),
        ("0/caption", {"caption": "  "}, "caption: String should have at least 1 character"),
        ("0/caption", {"caption": "x" * 8001}, "caption: String should have at most 8000"),
        ("0/caption", {"caption": 3}, "caption: Input should be a valid string"),
        ("0/caption", [], "valid dictionary"),
        ("4/decision", {"decision": "accepted"}, "no candidate 4: reload the page"),
        ("-1/decision", {"decision": "accepted"}, "no candidate -1"),
    ],
)
def test_what_is_refused(
    client: TestClient, dataset: Path, path: str, body: Any, said: str
) -> None:
    answer = client.post(f"/api/candidates/{path}", json=body)
    assert answer.status_code == 422
    assert said in answer.text
    assert "\n" not in answer.text
    assert latest_decisions(dataset / "decisions.sqlite") == {}


def test_bodies_that_are_no_json_or_too_large(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    path = "/api/candidates/0/decision"
    assert client.post(path, content=b"{", headers=headers).status_code == 422
    assert client.post(path, content=b"\xff", headers=headers).status_code in (400, 422)
    assert client.post(path, content=b" " * 70_000, headers=headers).status_code == 413
    # A form of another site could send this, but no JSON.
    assert client.post(path, data={"decision": "accepted"}).status_code == 422


def test_changes_need_the_second_token(client: TestClient, dataset: Path) -> None:
    del client.headers[CSRF_HEADER]
    for path in ("/api/undo", "/api/candidates/0/decision", "/api/candidates/0/caption"):
        assert client.post(path, json={"decision": "accepted"}).status_code == 403
    assert latest_decisions(dataset / "decisions.sqlite") == {}


@pytest.mark.parametrize(
    "path",
    [
        *OUT_OF_STATIC,
        *("/tiles/../7/0/0", "/tiles/0.png/7/0/0", "/tiles/0/7/0/%2e%2e", "/tiles/%2fetc/7/0/0"),
        *("/tiles/99/7/0/0", "/tiles/0/99/0/0", "/tiles/0/7/9/0", "/tiles/0/7/0/-1"),
        *(f"/tiles/{'9' * 5000}/7/0/0", "/docs", "/openapi.json", "/redoc"),
        *("/api/queue?show=x", "/api/queue?order=x", "/manifest.parquet", "/decisions.sqlite"),
    ],
)
def test_paths_that_lead_nowhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text
    assert "import" not in answer.text


def test_without_the_cookie_nothing_is_told(client: TestClient) -> None:
    client.cookies.clear()
    for path in ("/", "/static/inspect.js", "/api/start", "/api/candidates/0", "/tiles/0/7/0/0"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert answer.text.startswith("open the address that the command printed")
        assert "content-security-policy" in answer.headers


def test_another_name_of_this_machine_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "rebound.example:8765"}).status_code == 421


def test_a_picture_that_is_gone_and_one_that_is_broken(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "source" / "0.png").unlink()
    broken = tmp_path / "source" / "1.png"
    broken.write_bytes(broken.read_bytes()[:3000])
    gone = client.get("/api/candidates/0").json()
    assert gone["pyramid"] is None
    assert "0.png: No such file or directory" in gone["problem"]
    answer = client.get("/tiles/1/7/0/0")
    assert answer.status_code == 422
    assert "1.png: damaged or truncated image" in answer.text
    # Nobody needs to see it to know that it is not wanted.
    assert client.post("/api/candidates/0/decision", json={"decision": "rejected"}).is_success


def test_a_database_that_fails_is_said_and_nothing_acknowledged(
    client: TestClient, dataset: Path
) -> None:
    (dataset / "decisions.sqlite").write_bytes(b"spoilt" * 1000)
    answer = client.post("/api/candidates/0/decision", json={"decision": "accepted"})
    assert answer.status_code == 422
    assert "decisions.sqlite: not an intact SQLite database" in answer.text
