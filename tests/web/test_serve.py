"""Ports that cannot be had."""

import socket
import threading
import time
from contextlib import nullcontext
from typing import Any

import pytest

from diffusion4k.errors import UsageError
from diffusion4k.web import serve as serving
from diffusion4k.web.serve import address, check_proxies, listen


def test_a_free_port_and_its_address() -> None:
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert address(bound, "127.0.0.1", "abc") == f"http://127.0.0.1:{port}/?token=abc"
        assert address(bound, "::1", "abc") == f"http://[::1]:{port}/?token=abc"
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: taken by another program"):
            listen("127.0.0.1", port)
    listen("127.0.0.1", port).close()


def test_an_address_of_another_machine() -> None:
    with pytest.raises(UsageError, match=r"--host 203\.0\.113\.1: no such address"):
        listen("203.0.113.1", 0)
    with pytest.raises(UsageError, match="--host not a name: no such address"):
        listen("not a name", 0)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The smallest application."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def test_connections_that_come_to_no_request_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_PATIENCE", 0.5)
    # A thread cannot take signals.
    monkeypatch.setattr("uvicorn.Server.capture_signals", lambda _: nullcontext())
    with listen("127.0.0.1", 0) as bound:
        place = bound.getsockname()
        threading.Thread(target=serving.serve, args=(hello, bound), daemon=True).start()
        with socket.create_connection(place) as silent, socket.create_connection(place) as slow:
            for connection in (silent, slow):
                connection.settimeout(20)
            slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                answer += slow.recv(1 << 16)
            assert b"hello" in answer
            slow.sendall(b"GET / HTTP/1.1\r\n")  # and no more
            begin = time.monotonic()
            assert silent.recv(1) == slow.recv(1) == b""
            assert time.monotonic() - begin < 15


def test_a_proxy_is_an_address_or_a_network() -> None:
    check_proxies(["127.0.0.1", "10.0.0.0/8", "::1"])
    for wrong in ("not an address", "*", "", "10.0.0.0/99", "x" * 1000):
        with pytest.raises(UsageError, match=r"--proxy .*: allowed is an address"):
            check_proxies([wrong])
