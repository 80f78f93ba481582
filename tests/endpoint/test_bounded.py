"""Endpoints that drip, never end, send gigabytes or lead elsewhere: at worst one failed picture."""

import asyncio
import gzip
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from diffusion4k.endpoint import bounded
from diffusion4k.endpoint.client import Endpoint
from diffusion4k.endpoint.failures import Passing
from diffusion4k.endpoint.settings import EndpointSettings
from diffusion4k.errors import Diffusion4kError

pytest.importorskip("openai")

Send = Callable[[bytes], None]
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def answering(answer: Callable[[Send], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server whose answers are made byte by byte; its address, and what it was sent."""
    asked: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.request.recv(1 << 16))
            with suppress(OSError):  # cut off, as it should be
                answer(self.request.sendall)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
        server.shutdown()


def ask(url: str, timeout: float = 1.0) -> None:
    async def once() -> None:
        async with Endpoint(EndpointSettings(url=url, timeout=timeout)) as endpoint:
            await endpoint.chat([], key="k")

    asyncio.run(once())


def drip_body(send: Send) -> None:
    send(_HEAD + b"\r\n")
    for _ in range(100):
        send(b" ")
        time.sleep(0.1)


def drip_headers(send: Send) -> None:
    send(_HEAD)
    for number in range(100):
        send(b"X-%d: x\r\n" % number)
        time.sleep(0.1)


def events(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    for _ in range(100):
        send(b"data: {}\n\n")
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [drip_body, drip_headers, events])
def test_what_drips_is_cut_off(answer: Callable[[Send], None]) -> None:
    begin = time.monotonic()
    with answering(answer) as (url, _), pytest.raises(Passing, match="no answer within 2 s"):
        ask(url)
    assert time.monotonic() - begin < 8


def endless(send: Send) -> None:
    send(_HEAD + b"\r\n")
    while True:
        send(b" " * (1 << 16))


def bomb(send: Send) -> None:
    content = gzip.compress(bytes(200 << 20), 9)
    send(_HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(content) + content)


@pytest.mark.parametrize("answer", [endless, bomb])
def test_what_fills_the_memory_is_cut_off(
    answer: Callable[[Send], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "_MOST_BYTES", 1 << 20)
    with answering(answer) as (url, _), pytest.raises(Passing, match="the answer is endless"):
        ask(url, timeout=60)


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff\xfe", b'{"choices": ' + b"9" * 5000])
def test_what_is_no_json_is_one_failure(body: bytes) -> None:
    def answer(send: Send) -> None:
        send(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    with answering(answer) as (url, _), pytest.raises(Passing):
        ask(url)


def test_pictures_are_sent_to_no_other_host() -> None:
    with answering(lambda send: None) as (other, others):

        def answer(send: Send) -> None:
            send(
                b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % other.encode()
            )

        with answering(answer) as (url, _), pytest.raises(Diffusion4kError, match="HTTP 307"):
            ask(url)
        assert not others
