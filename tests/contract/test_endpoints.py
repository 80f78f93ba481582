"""Endpoints that close, lie or never end, as the two verbs meet them that pay for answers."""

import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.contract.endpoint import ASKING, Answer, body, choice, serving
from tests.contract.world import Run, arguments, contents, errors_of, unharmed

pytestmark = pytest.mark.slow

COMMANDS = (
    f"dataset caption PICTURES --overwrite {ASKING}",
    f"judge PICTURES MORE --out out {ASKING}",
)


def closes(handler: BaseHTTPRequestHandler) -> None:
    """Not a word."""


def no_http(handler: BaseHTTPRequestHandler) -> None:
    """Another protocol."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def drips(handler: BaseHTTPRequestHandler) -> None:
    """A blank every now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.2)


ANSWERS: dict[str, Answer] = {
    "closes": closes,
    "no-http": no_http,
    "drips": drips,
    "empty": body(b""),
    "page": body(b"<html>Please log in</html>"),
    "cut": body(b'{"id": ', said=1000),
    "list": body(b"[]"),
    "deep": body(b"[" * 100_000),
    "no-choices": body(b'{"id": "x", "choices": []}'),
    "null-choices": body(b'{"id": "x", "choices": null}'),
    "number-as-text": body(choice(content=5)),
    "no-text": body(choice(content=None)),
    "blank": body(choice(content=" \n\0")),
    "unlike-usage": body(choice(content=" ")[:-1] + b', "usage": {"total_tokens": 1e999}}'),
    "gone": body(b"{}", status=404),
    "wrong-key": body(b'{"error": {"message": "no such key"}}', status=401),
    "busy": body(b"busy", status=503),
    "elsewhere": body(b"", status=307, Location="http://127.0.0.1:9/v1"),
}


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("command", COMMANDS, ids=["caption", "judge"])
def test_an_odd_answer_is_at_worst_a_picture_without_one(
    command: str, kind: str, world: Path, tiny_model: Path, run: Run
) -> None:
    before = contents(world.parent)
    with serving(ANSWERS[kind]) as url:
        code, out, err = run(arguments(command, tiny_model, URL=url))
    assert code == 1, out + err
    errors = errors_of(err)
    assert len(errors) <= 1
    # The endpoint's fault, or that of each picture.
    assert url in "".join(errors) or "pictures/0.png" in out, out + err
    unharmed(world, before, may=("out", "pictures/.captions"))
