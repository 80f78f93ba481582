"""Daft, set up: the same pipeline on this machine or on a Ray cluster.

Tables are lazy data frames. `mapped` adds columns that a Python function computes from batches of
rows; it runs in as many threads as there are CPU cores, on every machine of a cluster.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from diffusion4k.errors import Diffusion4kError, one_line

if TYPE_CHECKING:
    import pyarrow as pa
    from daft import DataFrame, Series

__all__ = [
    *("Row", "as_frame", "batches_of", "calls_ended", "interrupts_noted", "joined", "load_daft"),
    *("mapped", "rows_of", "use_ray"),
]

Row: TypeAlias = dict[str, Any]

_ROWS_PER_TASK = 256
"""What a worker of a cluster takes at a time; lost if it dies."""


def load_daft() -> ModuleType:
    """The module `daft`, which tells nobody of its use and draws no bars.

    Raises:
        Diffusion4kError: it is not installed.
    """
    os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    try:
        import daft
    except ImportError:
        raise Diffusion4kError(
            "building a dataset needs Daft: pip install 'diffusion4k[curation]'"
        ) from None
    return daft


def use_ray(address: str) -> None:
    """Run all that follows on the Ray cluster at `address`, HOST:PORT.

    Raises:
        Diffusion4kError: Ray is not installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    daft = load_daft()
    try:
        import ray

        _reach(address)
        ray.init(
            address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR
        )
        daft.set_runner_ray(address, noop_if_initialized=True)
    except ImportError:
        raise Diffusion4kError("--ray needs Ray: pip install 'diffusion4k[ray]'") from None
    except Exception as error:
        reason = one_line(error)
        raise Diffusion4kError(
            f"--ray {address}: no Ray cluster answers there ({reason}): start one with "
            "`ray start --head`, or leave --ray out"
        ) from None


def _reach(address: str) -> None:
    """Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=5).close()


def as_frame(table: "pa.Table") -> "DataFrame":
    """A table in memory as a data frame."""
    return load_daft().from_arrow(table)


def mapped(
    table: "DataFrame",
    function: Callable[[list[Row]], list[Row]],
    inputs: Sequence[str],
    outputs: Mapping[str, "pa.DataType"],
    *,
    batch: int = 1024,
) -> "DataFrame":
    """`table` with the columns `outputs`, which replace those of the same name.

    `function` takes at most `batch` rows with the columns `inputs` and gives as many back. It must
    not raise, as the message would come with a traceback from another thread or machine.
    """
    daft = load_daft()
    kind = daft.DataType.struct(
        {name: daft.DataType.from_arrow_type(kind) for name, kind in outputs.items()}
    )

    def on_series(series: "Series") -> list[Row]:
        return _called(function, series)

    decorate = daft.func.batch(return_dtype=kind, unnest=True, batch_size=batch, use_process=False)
    struct = daft.functions.to_struct(*[daft.col(name) for name in inputs])
    kept = [daft.col(name) for name in table.column_names if name not in outputs]
    return table.select(*kept, decorate(on_series)(struct))


def joined(table: "DataFrame", other: "DataFrame", on: str) -> "DataFrame":
    """`table` with the columns of `other`, null where it has no row with the same `on`."""
    return table.join(other, on=on, how="left")


def rows_of(table: "DataFrame", *, in_tasks: bool = False) -> Iterator[Row]:
    """The rows as they are ready; `in_tasks` divides the work among the machines of a cluster."""
    if in_tasks:
        table = table.into_batches(_ROWS_PER_TASK)
    for batch in batches_of(table):
        yield from batch.to_pylist()


def batches_of(table: "DataFrame") -> Iterator["pa.RecordBatch"]:
    """The rows as they are ready, in batches.

    Raises:
        KeyboardInterrupt: after the last one too, if Ctrl-C came in a block of `interrupts_noted`.
    """
    batches = table.to_arrow_iter(results_buffer_size=1)
    with calls_ended():
        yield from batches
    if _INTERRUPTED.is_set():
        raise KeyboardInterrupt


_INTERRUPTED = threading.Event()


@contextmanager
def interrupts_noted() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt as ever, and is remembered for `batches_of`.

    Daft looks for signals while it works. Were it to end the query and keep the exception, a part
    of the rows would pass for all.
    """

    def note(*_: object) -> None:
        _INTERRUPTED.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _INTERRUPTED.clear()


@contextmanager
def calls_ended() -> Iterator[None]:
    """Do not leave by an exception while functions of `mapped` are running.

    The interpreter would end under the threads that they run in, and abort.
    """
    try:
        yield
    except BaseException:
        _CALLS.stopping = True
        _CALLS.wait()
        _CALLS.stopping = False
        raise


class _Calls:
    """Calls under way in this process."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()
        self.stopping = False

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)


_CALLS = _Calls()


def _called(function: Callable[[list[Row]], list[Row]], series: "Series") -> list[Row]:
    with _CALLS:
        # Nothing after the end is read.
        return [{}] * len(series) if _CALLS.stopping else function(series.to_pylist())
