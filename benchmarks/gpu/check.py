"""Runs the parts one after another, each in a process of its own, and writes down what comes.

    OUT/parts/NAME.json     one part, written by its process as soon as it is done
    OUT/plans/NAME.json     what the plan says of it, by a process that works beside the parts
    OUT/gpu_check.json      all of it together, written anew after each part

A part that fails, runs out of memory or takes too long is recorded with its reason, and the next
goes on. A server imports the libraries once, and a process that is forked from it runs a part: the
imports, of several seconds, are not repeated. It never touches a GPU, which would not survive.
"""

import json
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import part_named
from diffusion4k.support.files import write_text

__all__ = ["Check", "Outcome", "run_part"]

_PRELOAD = ["benchmarks.gpu.preload"]


@dataclass(frozen=True)
class Outcome:
    """What came of a part."""

    status: str
    """ok, refused, out of memory, failed, too slow, killed or not run."""
    reason: str = ""
    found: dict[str, Any] | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """One run of the check.

    Attributes:
        out: folder of the results.
        budget: seconds in all; what has not begun by then is not run.
        resume: parts that were done in `out` are not done again.
    """

    out: Path
    tiny: bool
    device: str | None = None
    budget: float = float("inf")
    resume: bool = False

    def run(self, names: Sequence[str]) -> dict[str, Any]:
        """All of the parts; what is in `gpu_check.json` in the end."""
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        start = time.monotonic()
        context = self._context()
        planner = context.Process(target=_plan_all, args=(self, list(names)), daemon=True)
        planner.start()
        try:
            for name in names:
                path = self.file("parts", name)
                if not (self.resume and _status(path) == "ok"):
                    path.unlink(missing_ok=True)
                    left = self.budget - (time.monotonic() - start)
                    outcome = self._run(context, name, left)
                    if not path.exists():
                        _write(path, asdict(outcome))
                print(_line(name, json.loads(path.read_text())), flush=True)
                self._gather(names)
            planner.join(max(self.budget - (time.monotonic() - start), 1))
        finally:
            if planner.is_alive():
                planner.kill()
        return self._gather(names)

    def file(self, kind: str, name: str) -> Path:
        """Where a part's outcome (`parts`), plan (`plans`) or output (`logs`) is."""
        return self.out / kind / f"{name.replace(' ', '_')}.{'log' if kind == 'logs' else 'json'}"

    def _context(self) -> Any:
        """How processes are started: forked from a server, or afresh where no GPU works in them."""
        # Whether there is a GPU is asked without touching it, as no process can be forked then.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOAD)
        process = context.Process(target=_touch, args=(self.device,))
        process.start()
        process.join()
        return context if process.exitcode == 0 else multiprocessing.get_context("spawn")

    def _run(self, context: Any, name: str, left: float) -> Outcome:
        """What its process could not write down itself."""
        if left <= 0:
            return Outcome("not run", f"the {self.budget:.0f} s that there were are over")
        process: BaseProcess = context.Process(target=run_part, args=(self, name))
        process.start()
        # With tiny models it is not the part that is slow but the machine.
        limit = left if self.tiny else min(part_named(name).limit, left)
        process.join(None if limit == float("inf") else limit)
        if process.is_alive():
            process.kill()
            process.join()
            return Outcome("too slow", f"ended after {limit:.0f} s", seconds=limit)
        code = process.exitcode or 0
        why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome("killed", f"{why}; see {self.file('logs', name)}")

    def _gather(self, names: Sequence[str]) -> dict[str, Any]:
        result: dict[str, Any] = {"machine": _machine(), "tiny": self.tiny, "parts": {}}
        for name in names:
            path, plan = self.file("parts", name), self.file("plans", name)
            if not path.exists():
                continue
            part = json.loads(path.read_text())
            part["planned"] = json.loads(plan.read_text()) if plan.exists() else None
            part["published"] = dict(part_named(name).published) or None
            result["parts"][name] = part
        _write(self.out / "gpu_check.json", result)
        return result


def run_part(check: Check, name: str) -> Outcome:
    """One part, in this process; its outcome is written, too."""
    path = check.file("parts", name)
    if multiprocessing.parent_process():
        _redirect(check.file("logs", name))
    start, used = time.monotonic(), time.process_time()
    outcome = _outcome(check, name)
    spent = {"seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - used}
    _write(path, asdict(outcome) | spent)
    return outcome


def _touch(device: str | None) -> None:
    import torch

    from diffusion4k.support.devices import usable_device

    torch.ones(1, device=usable_device(device))


def _outcome(check: Check, name: str) -> Outcome:
    from benchmarks.gpu.setting import Setting
    from diffusion4k.errors import Diffusion4kError
    from diffusion4k.support.devices import is_out_of_memory

    part = part_named(name)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        try:
            return Outcome("ok", found=part.run(Setting(Path(folder), check.tiny, check.device)))
        except Exception as error:
            causes = (error, error.__cause__)
            reason = " ".join(str(error).split())[:400] or type(error).__name__
            if any(cause and is_out_of_memory(cause) for cause in causes):
                return Outcome("out of memory", reason)
            if isinstance(error, Diffusion4kError):
                return Outcome("refused", reason)
            traceback.print_exc()
            return Outcome("failed", f"{type(error).__name__}: {reason}")


def _plan_all(check: Check, names: Iterable[str]) -> None:
    """Plans of the parts, in their order."""
    from benchmarks.gpu.setting import Setting

    _redirect(check.out / "logs" / "plans.log")
    for part in map(part_named, names):
        if part.planned is None:
            continue
        with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
            try:
                found: dict[str, Any] = part.plan(Setting(Path(folder), check.tiny, "cpu"))
            except Exception as error:
                traceback.print_exc()
                found = {"error": f"{type(error).__name__}: {error}"[:400]}
        _write(check.file("plans", part.name), found)


def _redirect(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _line(name: str, part: dict[str, Any]) -> str:
    figures = {k: v for k, v in (part["found"] or {}).items() if type(v) in (int, float)}
    shown = "; ".join(f"{key} {value:.4g}" for key, value in list(figures.items())[:5])
    return f"{name}: {part['status']} ({part['seconds']:.1f} s) {part['reason'] or shown}"


def _status(path: Path) -> str | None:
    with suppress(OSError, ValueError):
        return str(json.loads(path.read_text())["status"])
    return None


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2) + "\n")


def _machine() -> dict[str, Any]:
    from importlib import metadata

    names = ("torch", "diffusers", "transformers", "torchao", "bitsandbytes", "deepspeed")
    versions = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"cores": os.cpu_count(), "python": platform.python_version(), "versions": versions}
