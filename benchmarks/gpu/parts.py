"""The parts of the check, the most telling ones first, and what is published beside them."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gpu.setting import Setting

__all__ = ["PARTS", "Part", "part_named"]

SD3, FLUX = "sd3-medium", "flux.1-dev"
MODELS = (
    *("sd3-medium", "sd3.5-medium", "flux.1-dev", "flux.1-schnell", "pixart-sigma-1024"),
    *("sana-1600m-4k", "z-image", "flux.2-dev", "flux.2-klein-base-4b", "qwen-image"),
    "ernie-image",
)
# Diffusion-4K (arXiv 2503.18352), 4096x4096 at F=16 on one A100 in bfloat16.
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "sd3 high": {"peak_gb": 31.3, "step_seconds": 1.16},
    "sd3 balanced": {"peak_gb": 16.1, "step_seconds": 1.22},
    "flux high": {"peak_gb": 50.4, "step_seconds": 2.42},
    "flux balanced": {"peak_gb": 26.9, "step_seconds": 3.16},
}


@dataclass(frozen=True)
class Part:
    """One thing that is run and recorded; libraries are imported only when it is.

    Attributes:
        name: by which it is asked for.
        does: module of this package and function in it.
        keys: arguments of the function, and of the one by which it is planned.
        planned: function of `plans`, for what `diffusion4k plan` says of it.
        quick: whether `--quick` runs it.
        limit: seconds after which it is ended.
        published: `peak_gb` and `step_seconds`.
    """

    name: str
    does: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    planned: str | None = None
    quick: bool = True
    limit: int = 60
    published: Mapping[str, float] = field(default_factory=dict)

    def run(self, setting: "Setting") -> dict[str, Any]:
        """What it measures.

        Raises:
            Diffusion4kError: what it needs is not here.
        """
        return self._call(self.does, setting)

    def plan(self, setting: "Setting") -> dict[str, float]:
        """What is planned for it; only where `planned`."""
        return self._call(f"plans.{self.planned}", setting)

    def _call(self, what: str, setting: "Setting") -> dict[str, Any]:
        module, _, function = what.partition(".")
        call = getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)
        result: dict[str, Any] = call(setting, **self.keys)
        return result


def _image(short: str, memory: str, weights: str | None = None, quick: bool = True) -> Part:
    name = f"{short} {weights or memory}"
    return Part(
        f"image {name}",
        "sampling.image",
        {"name": {"sd3": SD3, "flux": FLUX}[short], "memory": memory, "weights": weights},
        planned="image",
        quick=quick,
        published=PUBLISHED.get(name, {}),
    )


def _training(name: str, model: str, quick: bool = False, **keys: Any) -> Part:
    keys = {"name": model, **keys}
    return Part(f"train {name}", "training.training_steps", keys, "training", quick=quick, limit=90)


def _cache(short: str, model: str, kind: str, quick: bool = True) -> Part:
    keys = {"name": model, "kind": kind}
    return Part(f"cache {short} {kind}", "sampling.step_cache", keys, quick=quick)


PARTS = (
    *(Part(f"equal {name}", "equality.images", {"name": name}) for name in MODELS),
    Part("equal lora", "equality.lora_images"),
    Part("equal resumed", "equality.resumed"),
    _image("sd3", "high"),
    _image("sd3", "balanced"),
    _image("sd3", "low"),
    Part("decoding sd3", "sampling.decoding", {"name": SD3}, planned="decoding"),
    _training("sd3 adamw8bit", SD3, True, engine="ddp", optimizer={"name": "adamw8bit"}),
    *(_image("sd3", "balanced", weights) for weights in ("fp8", "int8", "nf4")),
    _image("flux", "high"),
    _image("flux", "balanced", quick=False),
    _image("flux", "low", quick=False),
    *(_image("flux", "balanced", weights, quick=False) for weights in ("fp8", "int8", "nf4")),
    Part("compile sd3", "sampling.compiled", {"name": SD3}, limit=120),
    _cache("sd3", SD3, "first-block"),
    _cache("sd3", SD3, "taylorseer"),
    _cache("flux", FLUX, "first-block", quick=False),
    Part("windows sd3", "sampling.windows", {"name": SD3}, planned="windows"),
    Part("train pocket", "training.pocket_training"),
    _training("flux lora nf4", FLUX, lora={"rank": 16, "weights": "nf4"}),
    _training("sd3 fsdp2 offload", SD3, engine="fsdp2", offload=True),
    _training("sd3 deepspeed offload", SD3, engine="deepspeed", offload=True),
    Part("compile flux", "sampling.compiled", {"name": FLUX}, quick=False, limit=120),
)


def part_named(name: str) -> Part:
    """The part of that name."""
    return next(part for part in PARTS if part.name == name)
