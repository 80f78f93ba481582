"""What all benchmarks share: the machine, fair timing in turn, peak memory, results as JSON.

Benchmarks run as scripts, `python benchmarks/NAME.py`, and import this file as `common`.
A figure means nothing alone: ours and the reference are timed in turn in the same run, and the
ratio is what counts. Memory is measured in a process of its own, as a peak is never taken back.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "GIB",
    "RESULTS",
    "Comparison",
    "compare",
    "machine",
    "peak_memory",
    "resident_memory",
    "save",
    "seconds",
]

RESULTS = Path(os.environ.get("BENCH_RESULTS") or "runs/bench")
"""Not the published ones in `benchmarks/results`: who measures keeps a clean clone."""
GIB = 2**30

# A process starts with the peak of the one it was forked from: a small one goes between.
_RUNNER = """
import os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(0 if status == 0 else 1)
"""


@dataclass(frozen=True)
class Comparison:
    """Seconds of each run, and what they come to: `ratio` > 1 says that ours is faster."""

    ours: list[float]
    reference: list[float]
    ours_median: float
    reference_median: float
    ratio: float

    def __str__(self) -> str:
        return (
            f"ours {self.ours_median:.3f} s, reference {self.reference_median:.3f} s: "
            f"{self.ratio:.2f}x ({len(self.ours)} runs of each, in turn)"
        )


def compare(
    ours: Callable[[], object], reference: Callable[[], object], repeats: int = 5, warmup: int = 1
) -> Comparison:
    """Time two functions in turn, ours first; the ratio is that of the medians."""
    for _ in range(warmup):
        ours()
        reference()
    pairs = [(seconds(ours), seconds(reference)) for _ in range(repeats)]
    times, reference_times = [p[0] for p in pairs], [p[1] for p in pairs]
    median, reference_median = statistics.median(times), statistics.median(reference_times)
    return Comparison(times, reference_times, median, reference_median, reference_median / median)


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory(arguments: Sequence[str | Path]) -> tuple[float, str]:
    """Run `python ARGUMENTS...` in a fresh process; its peak resident GiB and standard output.

    Raises:
        RuntimeError: the process failed; its standard error has been shown.
    """
    run = subprocess.run(
        [sys.executable, "-c", _RUNNER, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    if run.returncode:
        raise RuntimeError(f"exit code {run.returncode} of: {' '.join(map(str, arguments))}")
    output, _, peak = run.stdout.rstrip().rpartition("\n")
    # Linux counts in KiB, macOS in bytes.
    return int(peak) * (1 if sys.platform == "darwin" else 1024) / GIB, output


def resident_memory() -> float:
    """GiB that this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / GIB


def machine() -> dict[str, Any]:
    """Processor, cores, memory, load, thread count and versions: what a figure depends on."""
    import torch

    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "load_1min": round(os.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def save(name: str, result: dict[str, Any]) -> Path:
    """Write `result` with the machine's description to `NAME.json` in `RESULTS`."""
    plain = {k: asdict(v) if isinstance(v, Comparison) else v for k, v in result.items()}
    content = {"benchmark": name, "machine": machine(), "result": plain}
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(f"saved {path}")
    return path


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
