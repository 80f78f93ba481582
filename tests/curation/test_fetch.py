"""Fetching from a server that fails in all ways servers do."""

import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffusion4k.curation.fetch import FetchError, fetch
from diffusion4k.curation.recipe import FetchRecipe
from tests.curation.conftest import Build, save
from tests.curation.server import content, first, serving, status

PATIENT = FetchRecipe(
    timeout=10, deadline=20, retries=2, pause=0.01, max_bytes=10_000, internal=True
)
QUICK = PATIENT.model_copy(update={"timeout": 0.5, "deadline": 1.0})


def hang(handler: BaseHTTPRequestHandler, _: int) -> None:
    time.sleep(1.5)


def drip(handler: BaseHTTPRequestHandler, _: int) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(15):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.1)


GOOD = content(b"the picture")


@pytest.mark.parametrize(
    "bad",
    [status(500), status(503, Retry_After="0"), status(429), content(b"cut", said=99), hang, drip],
    ids=["500", "503", "429", "cut", "hangs", "drips"],
)
def test_what_passes_is_tried_again(tmp_path: Path, bad) -> None:
    wanted = QUICK if bad in (hang, drip) else PATIENT
    with serving({"a": first(2, bad, GOOD)}) as web:
        path = fetch(web.url("a"), tmp_path / "x/a", wanted)
        assert path.read_bytes() == b"the picture"
        assert web.asked["a"] == 3
        fetch(web.url("a"), path, wanted)
        assert web.asked["a"] == 3
    with serving({"a": bad}) as web:
        with pytest.raises(FetchError, match="not fetched in 3 tries"):
            fetch(web.url("a"), tmp_path / "b", wanted)
        assert web.asked["a"] == 3 and not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(404), "HTTP 404"),
        (status(403), "HTTP 403"),
        (content(b"x" * 10_001), "more than 10000 bytes"),
        (status(302, Location="file:///etc/passwd"), "HTTP 302"),
        (status(302, Location="ftp://example.org/a"), "leads to ftp://example.org/a, which is no"),
    ],
    ids=["404", "403", "large", "to a file", "to ftp"],
)
def test_what_does_not_pass_is_not(tmp_path: Path, answer, reason: str) -> None:
    with serving({"a": answer}) as web:
        with pytest.raises(FetchError, match=reason):
            fetch(web.url("a"), tmp_path / "a", PATIENT)
        assert web.asked["a"] == 1 and not list(tmp_path.iterdir())


def test_no_address_of_one_s_own_network_is_asked_unless_permitted(tmp_path: Path) -> None:
    with serving({"a": GOOD}) as web:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            url = web.url("a").replace("127.0.0.1", host)
            with pytest.raises(FetchError, match=r"leads to 127.0.0.1, .*fetch\.internal"):
                fetch(url, tmp_path / "a", PATIENT.model_copy(update={"internal": False}))
        assert not web.asked


def test_headers_that_drip_are_cut_off(tmp_path: Path) -> None:
    def drip_headers(handler: BaseHTTPRequestHandler, _: int) -> None:
        for _ in range(100):
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n" if _ == 0 else b"X: x\r\n")
            handler.wfile.flush()
            time.sleep(0.1)

    wanted = QUICK.model_copy(update={"retries": 0})
    begin = time.monotonic()
    with serving({"a": drip_headers}) as web, pytest.raises(FetchError, match="not fetched"):
        fetch(web.url("a"), tmp_path / "a", wanted)
    assert time.monotonic() - begin < 8


def test_nobody_answers(tmp_path: Path) -> None:
    with serving({}) as web:
        url = web.url("a")
    with pytest.raises(FetchError, match="not fetched in 3 tries"):
        fetch(url, tmp_path / "a", PATIENT)
    for url in ("http://", "http://[::1", "http://a b/c"):
        with pytest.raises(FetchError):
            fetch(url, tmp_path / "a", PATIENT)


def test_a_build_fetches_once_and_tries_again_what_failed(tmp_path: Path, build: Build) -> None:
    good = save(tmp_path / "a.jpg", 0).read_bytes()
    late = save(tmp_path / "b.jpg", 1).read_bytes()
    answers = {"a": content(good), "late": status(500), "text": content(b"<html>")}
    with serving(answers) as web:
        urls = [web.url(name) for name in ("a", "late", "text", "none")]
        pq.write_table(pa.table({"link": urls, "text": ["one"] * 4}), tmp_path / "u.parquet")
        source = {"kind": "parquet", "path": str(tmp_path / "u.parquet"), "url": "link"}
        keys = {"fetch": PATIENT.model_dump()}
        built = build(source, **keys)
        assert built.files()["train/u/00000000.jpg"] == good
        assert "not fetched in 3 tries: HTTP 500" in built.reason("late")
        assert "URL: HTTP 404" in built.reason("none")
        assert "not an image" in built.reason("text")
        answers["late"] = content(late)
        again = build(source, **keys)
        assert again.files()["train/u/00000001.jpg"] == late
        assert again.by_name()["late"]["kept"] is True
        assert web.asked == {"a": 1, "late": 4, "text": 1, "none": 2}
