"""What a plan comes to: stages, time, disk, and whether it fits."""

from dataclasses import asdict, dataclass, field

from diffusion4k.accounting.machine import Machine
from diffusion4k.accounting.stages import PlannedStage

__all__ = ["CUDA_CONTEXT", "Change", "Plan"]

CUDA_CONTEXT = 2**29
"""Bytes that CUDA, its kernels and libraries take on a GPU before the first tensor (about)."""
_USABLE = 0.95
# Of a device's memory: the rest goes to what allocators cannot use between blocks.


@dataclass(frozen=True)
class Change:
    """A way to need less memory."""

    how: tuple[str, ...]
    """Options or recipe keys, in the words in which they are given."""
    peak: int
    """Bytes on each device then."""


@dataclass(frozen=True)
class Plan:
    """All figures of a training run or of making one image; bytes, seconds, FLOPs of one device."""

    what: str
    machine: Machine
    parameters: dict[str, int]
    """Numbers of parameters by component."""
    stages: list[PlannedStage]
    """What happens one after the other; the highest decides."""
    others: list[PlannedStage]
    """For comparison: what other settings would take."""
    step_flops: int
    """FLOPs of a step; for an image that is made in stages, of the last stage's."""
    total_flops: int
    step_seconds: float
    total_seconds: float
    steps: int
    ram: int
    """Bytes of main memory beside the device."""
    disk: dict[str, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    """Cheapest first; empty if it fits."""
    notes: list[str] = field(default_factory=list)

    def seconds(self, stage: PlannedStage) -> float:
        """Time of a stage, all of its times together."""
        return stage.times * seconds_once(stage, self.machine)

    @property
    def highest(self) -> PlannedStage:
        """The stage that decides."""
        return max(self.stages, key=lambda stage: stage.peak)

    @property
    def peak(self) -> int:
        """Bytes needed on each device."""
        return self.highest.peak + overhead(self.machine)

    @property
    def fits(self) -> bool:
        """Whether device, main memory and disk suffice, as far as they are known."""
        return not self.shortages

    @property
    def shortages(self) -> list[str]:
        """What does not suffice: `device`, `ram`, `disk`."""
        machine, found = self.machine, []
        if not fits_device(self.peak, machine):
            found.append("device")
        if machine.on_gpu and machine.ram is not None and self.ram > machine.ram:
            found.append("ram")
        if machine.disk is not None and sum(self.disk.values()) > machine.disk:
            found.append("disk")
        return found

    def as_dict(self) -> dict[str, object]:
        """Everything, for JSON."""

        def listed(stages: list[PlannedStage]) -> list[dict[str, object]]:
            return [
                {**asdict(stage), "peak": stage.peak, "seconds": self.seconds(stage)}
                for stage in stages
            ]

        return {
            **asdict(self),
            "stages": listed(self.stages),
            "others": listed(self.others),
            "peak": self.peak,
            "fits": self.fits,
            "shortages": self.shortages,
        }


def seconds_once(stage: PlannedStage, machine: Machine) -> float:
    """Time of a stage done once: of computing or, where that takes longer, of moving weights."""
    return max(machine.seconds(stage.flops), stage.moved / machine.bandwidth)


def overhead(machine: Machine) -> int:
    """Bytes on the device that no tensor holds."""
    return CUDA_CONTEXT if machine.on_gpu else 0


def fits_device(peak: int, machine: Machine) -> bool:
    """Whether so many bytes leave the device's allocator enough room."""
    return peak <= _USABLE * machine.memory
