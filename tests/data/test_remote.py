"""Caches far away, over a real server on loopback and fsspec's own memory."""

import functools
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from diffusion4k.data.cache import LatentCache
from diffusion4k.errors import Diffusion4kError

Build = Callable[..., object]


class _Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves `tmp_path`; its address, and the paths that were asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"asked": asked})
    serve = functools.partial(handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIFFUSION4K_CACHE", str(tmp_path / "home"))
    return tmp_path / "home"


def _equal(first: LatentCache, second: LatentCache) -> bool:
    samples = [(first.sample(index), second.sample(index)) for index in range(len(first))]
    return all(
        one.file_name == other.file_name
        and torch.equal(one.latents, other.latents)
        and all(torch.equal(v, other.conditioning[name]) for name, v in one.conditioning.items())
        for one, other in samples
    )


def test_over_http_each_shard_is_fetched_once_and_when_it_is_needed(
    build: Build, tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    pytest.importorskip("aiohttp")
    build(shard_bytes=1)
    address, asked = server
    cache = LatentCache(f"{address}/cache")
    assert not any("shards" in path for path in asked)
    cache.latents(0)
    assert sum("shards" in path for path in asked) == 1
    assert _equal(cache, LatentCache(tmp_path / "cache"))
    number = len(asked)
    assert _equal(LatentCache(f"{address}/cache"), LatentCache(tmp_path / "cache"))
    assert [path for path in asked[number:] if "index.json" not in path] == []


def test_from_any_file_system_of_fsspec(build: Build, tmp_path: Path, home: Path) -> None:
    build()
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "cache"), "/bucket/cache", recursive=True)
    local = LatentCache(tmp_path / "cache")
    assert _equal(LatentCache("memory://bucket/cache"), local)
    # A copy that was cut is fetched again.
    shard = next(home.rglob("latents*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:100])
    assert _equal(LatentCache("memory://bucket/cache"), local)
    memory.rm("/bucket", recursive=True)


def test_what_cannot_be_fetched_is_told_in_one_line(build: Build, tmp_path: Path) -> None:
    build()
    for address, reason in (
        ("nonsense://bucket/cache", "nonsense"),
        ("memory://nowhere/cache", r"nowhere/cache/index.json: cannot be fetched"),
    ):
        with pytest.raises(Diffusion4kError, match=reason) as error:
            LatentCache(address)
        assert "\n" not in str(error.value)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "cache"), "/other/cache", recursive=True)
    for shard in memory.glob("/other/cache/shards/latents*"):
        memory.pipe(shard, b"short")
    with pytest.raises(Diffusion4kError, match=r"cannot be fetched \(5 of \d+ bytes came\)"):
        LatentCache("memory://other/cache").latents(0)
    memory.rm("/other", recursive=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"tables": ["../../../../escaped.npy", "captions.npy", "names.txt"]},
        {"tables": ["/tmp/escaped.npy", "captions.npy", "names.txt"]},
        {"tables": [5]},
        {"tables": None},
        {"shards": [["../../escaped.safetensors", 4]]},
        {"shards": [["..", 4]]},
        {"shards": [["latents.safetensors", -1]]},
        {"latents": {"dtype": "load", "dimensions": 3}},
        {"settings": {}},
        {"count": 10**400},
    ],
)
def test_an_index_from_the_network_names_nothing_outside(
    build: Build, tmp_path: Path, home: Path, changes: dict[str, object]
) -> None:
    build()
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "cache"), "/damaged/cache", recursive=True)
    index = json.loads(memory.cat("/damaged/cache/index.json")) | changes
    memory.pipe("/damaged/cache/index.json", json.dumps(index).encode())
    memory.pipe("/damaged/escaped.safetensors", b"evil")
    with pytest.raises(Diffusion4kError, match=r"index\.json: damaged \(\w+") as error:
        LatentCache("memory://damaged/cache")
    assert "\n" not in str(error.value)
    assert [path.name for path in home.rglob("*") if path.is_file()] == ["index.json"]
    memory.rm("/damaged", recursive=True)


@pytest.mark.parametrize("content", [b"[]", b"<html>", b"[" * 100_000, b"\xff", b"1" * 5000])
def test_an_index_that_is_none_costs_one_line(content: bytes) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/none/cache/index.json", content)
    with pytest.raises(Diffusion4kError, match=r"index\.json: (not valid JSON|cache format None)"):
        LatentCache("memory://none/cache")
    memory.rm("/none", recursive=True)
