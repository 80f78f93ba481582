"""A stand-in for an OpenAI-compatible endpoint, on loopback: no model is behind it.

It speaks the protocol (chat completions with pictures as `data:` addresses, files, batches, errors
as OpenAI's) and misbehaves on purpose: for each picture it draws, from the picture's bytes and a
seed, which faults it shows before it answers, and how many answers are no captions. It counts
what it did for each picture.
"""

import asyncio
import base64
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

KEY = "sk-test-5f0c2e9a7b3d41c8-not-for-logs"
NOTICE = "stand-in"
REFUSALS = ("I'm sorry, but I can't assist with that.", "I’m unable to describe this image.")


@dataclass
class StandIn:
    """What the server does, and what it has done."""

    faults: tuple[str, ...] = ()
    """Of 429, 500, 503, late, cut, reset, html; up to `most_faults` of them for each picture."""
    most_faults: int = 0
    flags: tuple[str, ...] = ()
    """Of refused, refusal, filtered, empty, long, cut-long; up to `most_flags` answers each."""
    most_flags: int = 0
    honours_keys: bool = False
    """Answer a repeated Idempotency-Key with the first answer, without billing it again."""
    seed: int = 0
    latency: float = 0.0
    lateness: float = 2.0
    models: tuple[str, ...] = ("gpt-4o",)
    tokens: int = 900
    refuse_all: int | None = None
    """A status for every chat request."""
    message: str = ""
    retry_after: str = "0.02"
    omit_usage: bool = False
    forgetful: bool = False
    """Know of no batch, as with another key."""
    answered: Counter[str] = field(default_factory=Counter)
    """Captions generated, by picture."""
    flagged: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    """Faults shown, by kind."""
    requests: int = 0
    came: list[float] = field(default_factory=list)
    """When each chat request came, seconds."""
    at_once: list[int] = field(default_factory=list)
    """How many chat requests were under way when each came, itself included."""
    bodies: list[Any] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    batch_faults: list[str] = field(default_factory=list)
    """Of lost (created, but the answer does not come), failed, expired; one for each batch."""
    _plans: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)
    _at_once: int = 0

    @property
    def billed(self) -> float:
        """Dollars, at the price of GPT-4o."""
        return sum(self.answered.values(), self.flagged.total()) * self.cost

    @property
    def cost(self) -> float:
        """Dollars of one answer."""
        return (self.tokens * 2.5 + 12 * 10) / 1e6

    def plan(self, picture: str) -> tuple[list[str], list[str]]:
        """Faults, then flagged answers, that are still to be shown for a picture."""
        if picture not in self._plans:
            chance = random.Random(f"{self.seed}{picture}")
            drawn = [
                [chance.choice(kinds) for _ in range(chance.randint(0, most))] if kinds else []
                for kinds, most in (
                    (self.faults, self.most_faults),
                    (self.flags, self.most_flags),
                )
            ]
            self._plans[picture] = (drawn[0], drawn[1])
        return self._plans[picture]

    def generate(self, body: dict[str, Any], key: str | None) -> dict[str, Any]:
        """An answer, billed unless it is known by its key."""
        if self.honours_keys and key in self._known:
            return self._known[key]
        picture = picture_of(body)
        _, flags = self.plan(picture)
        flag = flags.pop() if flags else None
        (self.flagged if flag else self.answered)[picture] += 1
        answer = self._completion(body, picture, flag)
        if key:
            self._known[key] = answer
        return answer

    def _completion(self, body: dict[str, Any], picture: str, flag: str | None) -> dict[str, Any]:
        text: str | None = f"A {NOTICE} scene {picture[:12]} with a lake and hills."
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        finish = "stop"
        if flag == "refused":
            message["content"] = REFUSALS[int(picture[0], 16) % 2]
        elif flag == "refusal":
            message |= {"content": None, "refusal": "I can't help with that."}
        elif flag == "filtered":
            message["content"], finish = "", "content_filter"
        elif flag == "empty":
            message["content"] = " \n"
        elif flag == "long":
            message["content"] = "lake " * 100
        elif flag == "cut-long":
            finish = "length"
        return {
            "id": f"chatcmpl-{picture[:16]}",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [
                {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
            ],
        } | (
            {}
            if self.omit_usage
            else {
                "usage": {
                    "prompt_tokens": self.tokens,
                    "completion_tokens": 12,
                    "total_tokens": self.tokens + 12,
                }
            }
        )

    # The protocol.

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self._at_once += 1
        self.came.append(time.monotonic())
        self.at_once.append(self._at_once)
        try:
            return await self._chat(request)
        finally:
            self._at_once -= 1

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if wrong := self._wrong(request, body):
            return wrong
        key = request.headers.get("Idempotency-Key")
        self.keys.append(key)
        self.bodies.append({**body, "messages": None})
        await asyncio.sleep(self.latency)
        faults, _ = self.plan(picture_of(body))
        fault = faults.pop() if faults else None
        if fault:
            self.shown[fault] += 1
        if fault in ("429", "500", "503"):
            headers = {"Retry-After": self.retry_after} if fault == "429" else {}
            return error(int(fault), "Rate limit reached" if fault == "429" else "oops", headers)
        if fault == "html":
            return web.Response(text="<html>Bad gateway</html>", content_type="text/html")
        # A billed answer whose delivery fails is only fair to those that honour keys.
        answer = self.generate(body, key) if not fault or self.honours_keys else {"id": "x" * 400}
        if fault == "late":
            await asyncio.sleep(self.lateness)
        if fault == "reset":
            assert request.transport
            request.transport.abort()
        content = json.dumps(answer).encode()
        if fault == "cut":
            content = content[: len(content) // 2]
        headers = {"x-request-id": f"req-{self.requests}"}
        return web.Response(body=content, content_type="application/json", headers=headers)

    def _wrong(self, request: web.Request, body: dict[str, Any] | None) -> web.Response | None:
        said = request.headers.get("Authorization")
        if said != f"Bearer {KEY}":
            # Some proxies repeat the whole key.
            return error(401, f"Incorrect API key provided: {said}", code="invalid_api_key")
        if self.refuse_all:
            return error(self.refuse_all, self.message or "no")
        if body and body["model"] not in self.models:
            message = f"The model `{body['model']}` does not exist"
            return error(404, message, code="model_not_found")
        return None

    async def upload(self, request: web.Request) -> web.Response:
        if wrong := self._wrong(request, None):
            return wrong
        form = await request.post()
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        identity = f"file-{len(self.files)}"
        self.files[identity] = file.file.read()
        return web.json_response(
            {"id": identity, "object": "file", "purpose": "batch", "bytes": 1, "created_at": 1}
            | {"filename": file.filename, "status": "processed"}
        )

    async def content(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["id"]])

    async def create(self, request: web.Request) -> web.Response:
        if wrong := self._wrong(request, None):
            return wrong
        wanted = await request.json()
        assert wanted["endpoint"] == "/v1/chat/completions"
        assert wanted["completion_window"] == "24h"
        assert wanted["input_file_id"] in self.files
        identity = f"batch_{len(self.batches)}"
        fault = self.batch_faults.pop(0) if self.batch_faults else None
        self.batches[identity] = {
            "id": identity,
            "object": "batch",
            "status": "validating",
            "created_at": len(self.batches),
            "fault": fault,
            **wanted,
        }
        if fault == "lost":
            assert request.transport
            request.transport.abort()
        return web.json_response(self.batches[identity])

    async def list(self, request: web.Request) -> web.Response:
        newest = list(reversed(self.batches.values()))
        start = (
            [b["id"] for b in newest].index(request.query["after"]) + 1
            if ("after" in request.query)
            else 0
        )
        page = newest[start : start + 2]
        more = start + 2 < len(newest)
        return web.json_response({"object": "list", "data": page, "has_more": more})

    async def retrieve(self, request: web.Request) -> web.Response:
        if wrong := self._wrong(request, None):
            return wrong
        batch = self.batches.get(request.match_info["id"])
        if batch is None or self.forgetful:
            return error(404, "No batch found")
        steps = ("validating", "in_progress", "finalizing", "completed")
        if batch["fault"] == "failed":
            batch["status"] = "failed"
            batch["errors"] = {"object": "list", "data": [{"message": "Enqueued limit reached"}]}
        elif batch["status"] in steps[:-1]:
            batch["status"] = steps[steps.index(batch["status"]) + 1]
            if batch["status"] == "completed":
                self._finish(batch)
        return web.json_response(batch)

    def _finish(self, batch: dict[str, Any]) -> None:
        """Answer all requests of a batch; of one that expires the first half."""
        lines = self.files[batch["input_file_id"]].splitlines()
        rows = [json.loads(line) for line in lines]
        assert len({row["custom_id"] for row in rows}) == len(rows)
        good, bad = [], []
        for i, row in enumerate(rows):
            assert (row["method"], row["url"]) == ("POST", "/v1/chat/completions")
            result: dict[str, Any] = {"id": f"r{i}", "custom_id": row["custom_id"], "error": None}
            faults, _ = self.plan(picture_of(row["body"]))
            if batch["fault"] == "expired" and i >= len(rows) // 2:
                result |= {"response": None}
                result["error"] = {"code": "batch_expired", "message": "expired"}
                bad.append(result)
            elif faults:
                faults.pop()
                failure = {"error": {"message": "oops", "type": "server_error"}}
                result["response"] = {"status_code": 500, "request_id": "q", "body": failure}
                bad.append(result)
            else:
                answer = self.generate(row["body"], None)
                result["response"] = {"status_code": 200, "request_id": f"q{i}", "body": answer}
                good.append(result)
        if batch["fault"] == "expired":
            batch["status"] = "expired"
        for name, results in (("output_file_id", good), ("error_file_id", bad)):
            if results:
                batch[name] = f"file-{len(self.files)}"
                self.files[batch[name]] = "".join(json.dumps(r) + "\n" for r in results).encode()


def pictures_of(body: dict[str, Any]) -> list[bytes]:
    """The JPEG files in a request, in their order."""
    shown = [part for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
    files = []
    for part in shown:
        kind, _, content = part["image_url"]["url"].partition(",")
        assert kind == "data:image/jpeg;base64"
        files.append(base64.b64decode(content, validate=True))
    return files


def picture_of(body: dict[str, Any]) -> str:
    """SHA-256 of the picture in a request, or of several in their order."""
    files = pictures_of(body)
    assert files
    return hashlib.sha256(b"".join(files)).hexdigest()


def error(
    status: int, message: str, headers: dict[str, str] | None = None, code: str | None = None
) -> web.Response:
    """An error as OpenAI's."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return web.json_response(body, status=status, headers=headers)


@contextmanager
def serving(standin: StandIn) -> Iterator[str]:
    """Run the server in a thread; its address with /v1."""
    app = web.Application(client_max_size=1 << 28)
    app.add_routes(
        [
            web.post("/v1/chat/completions", standin.chat),
            web.post("/v1/files", standin.upload),
            web.get("/v1/files/{id}/content", standin.content),
            web.post("/v1/batches", standin.create),
            web.get("/v1/batches", standin.list),
            web.get("/v1/batches/{id}", standin.retrieve),
        ]
    )
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, access_log=None)

    async def start() -> int:
        await runner.setup()
        await (site := web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1)).start()
        return int(site._server.sockets[0].getsockname()[1])  # type: ignore[union-attr]

    async def stop() -> None:
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # late answers that nobody awaits
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
