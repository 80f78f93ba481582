"""Ports that cannot be had."""

import socket

import pytest

from diffusion4k.errors import UsageError
from diffusion4k.web.serve import address, listen


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
