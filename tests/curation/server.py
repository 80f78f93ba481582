"""A web server on this machine that answers as it is told to, and counts."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler, int], None]
"""Answers a request, knowing how many came for this path before."""


class Web:
    """`url(path)`, and `asked[path]`, how often it was asked for."""

    def __init__(self, port: int, asked: Counter[str]) -> None:
        self._port, self.asked = port, asked

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}/{path}"


@contextmanager
def serving(answers: dict[str, Answer]) -> Iterator[Web]:
    """Serve these paths; all others are not found."""
    asked: Counter[str] = Counter()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path[1:]
            with lock:
                before, asked[path] = asked[path], asked[path] + 1
            answers.get(path, status(404))(self, before)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Web(server.server_address[1], asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def content(body: bytes, *, said: int | None = None) -> Answer:
    """Answer with these bytes; `said` is the length that the header claims."""

    def answer(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if said is None else said))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def status(code: int, **headers: str) -> Answer:
    """Answer with this code alone."""

    def answer(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def first(times: int, bad: Answer, good: Answer) -> Answer:
    """`bad` for the first so many times, then `good`."""
    return lambda handler, before: (bad if before < times else good)(handler, before)
