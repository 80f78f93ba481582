"""A plan in words and tables, for a terminal."""

from collections.abc import Iterator

from diffusion4k.accounting.machine import Machine
from diffusion4k.accounting.stages import PlannedStage
from diffusion4k.planning.plan import Plan, overhead

__all__ = ["duration", "report", "verdict"]

_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def report(plan: Plan) -> str:
    """The whole plan, several lines."""
    return "\n".join(_lines(plan))


def verdict(plan: Plan) -> str:
    """Whether it fits, and if not the cheapest way out, in one line."""
    machine = plan.machine
    place = f"each of {machine.gpus} GPUs" if machine.gpus > 1 else "the GPU"
    place = place if machine.on_gpu else "this machine's free memory"
    need = f"{_size(plan.peak)} of {_size(machine.memory)} on {place} ({plan.highest.name})"
    if plan.fits:
        return f"fits: needs {need}"
    line = f"does not fit: needs {need}"
    if "device" not in plan.shortages:
        short = [
            f"{_size(need)} of {have} ({name})"
            for name, need, have in (
                ("main memory", plan.ram, _size(machine.ram or 0)),
                ("disk", sum(plan.disk.values()), _size(machine.disk or 0)),
            )
            if {"main memory": "ram", "disk": "disk"}[name] in plan.shortages
        ]
        return f"does not fit: needs {', '.join(short)}"
    for change in plan.changes:
        line += f"; {' '.join(change.how)}: {_size(change.peak)}"
        line += "" if change.peak <= machine.memory else ", still too much"
    if plan.changes:
        return line
    is_cache = plan.highest.name in ("text encoding", "image encoding") and plan.notes
    return (
        f"{line}; {plan.notes[-1] if is_cache else 'no setting makes it fit: a smaller size may'}"
    )


def _lines(plan: Plan) -> Iterator[str]:
    yield plan.what
    yield _machine(plan.machine)
    yield ""
    total = sum(plan.parameters.values())
    for name, number in plan.parameters.items():
        yield f"  {name:<18}{_number(number):>9} parameters"
    yield f"  {'all':<18}{_number(total):>9}"
    yield ""
    yield f"  {'memory of a device':<44}{'at its peak':>12}{'FLOPs':>10}{'times':>7}{'time':>10}"
    for stage in plan.stages:
        row = _row(stage, plan.highest is stage)
        yield f"{row}{stage.times:>7}{duration(plan.seconds(stage)):>10}"
        yield f"      {_parts(stage)}"
    if extra := overhead(plan.machine):
        yield f"    {'CUDA itself, beside each':<42}{_size(extra):>12}"
    yield "  for comparison"
    for stage in plan.others:
        yield _row(stage, False)
        yield f"      {_parts(stage)}"
    yield ""
    yield f"  step    {_flops(plan.step_flops):>12}  {duration(plan.step_seconds):>9}"
    yield f"  total   {_flops(plan.total_flops):>12}  {duration(plan.total_seconds):>9}"
    if plan.machine.on_gpu:
        yield f"  main memory  {_size(plan.ram)}"
    for name, size in plan.disk.items():
        yield f"  disk: {name:<18} {_size(size)}"
    yield from (f"  note: {note}" for note in plan.notes)
    yield ""
    yield verdict(plan)


def _machine(machine: Machine) -> str:
    speed = f"{machine.flops / 1e12:.3g} TFLOP/s, {machine.utilisation:.0%} of them used"
    if not machine.on_gpu:
        return f"on this machine's CPU: {_size(machine.memory)} free, {speed}"
    known = [
        f"{_size(size)} {name}"
        for size, name in ((machine.ram, "RAM"), (machine.disk, "disk"))
        if size is not None
    ]
    gpus = f"{machine.gpus} x GPU of {_size(machine.memory)}"
    return ", ".join([f"on {gpus}", *known, speed, f"{machine.bandwidth / 2**30:.3g} GiB/s"])


def _row(stage: PlannedStage, highest: bool) -> str:
    mark = "> " if highest else "  "
    return f"  {mark}{stage.name:<42}{_size(stage.peak):>12}{_flops(stage.flops):>10}"


def _parts(stage: PlannedStage) -> str:
    ordered = sorted(stage.parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {_size(size)}" for name, size in ordered if size)


def _size(size: float) -> str:
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"


def _number(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"


def _flops(count: float) -> str:
    for unit, name in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f}"


def duration(seconds: float) -> str:
    """Seconds in words, for example `3.5 h`."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
