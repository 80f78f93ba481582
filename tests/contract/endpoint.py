"""An endpoint on this machine with one answer to everything."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["ASKING", "Answer", "body", "choice", "serving"]

ASKING = "--endpoint URL --model m --retries 0 --timeout 1 --concurrency 1"
"""Options of who asks it; URL stands for its address."""
Answer = Callable[[BaseHTTPRequestHandler], None]


def body(content: bytes, *, status: int = 200, said: int | None = None, **headers: str) -> Answer:
    """This answer; `said` is the length that its header claims."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content) if said is None else said))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def choice(**message: object) -> bytes:
    """A completion of that message."""
    choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}]
    about = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps(about | {"choices": choices}).encode()


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The address of an endpoint with that answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with suppress(OSError):
                answer(self)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
