"""Cost of every objective over plain flow matching, in a training step of the pocket model.

    python benchmarks/objectives.py [--side 1024] [--pairs 12]

A step is the network's forward, the objective, and backward; steps with flow matching and with the
objective are taken in turn, each pair in the other order than the last, and the median of the
pairs' ratios counts. One more row compares flow matching with itself: what a ratio of no cost looks
like on this machine. Beside it the objective alone, forward and backward, with what it takes more
than flow matching as a share of the step: that difference is far below the noise of whole steps.

Memory, in a process for each objective: weights, AdamW's moments, and the most that a step
allocated at once by torch's profiler, which is exact and decides; and the peak of the process, the
least of several, which varies by about one percent from run to run.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

from common import peak_memory, save, seconds

TARGET_TIME, TARGET_MEMORY = 1.01, 1.005
PLAIN = "flow-matching"


def objectives() -> dict[str, Any]:
    """By name; two levels with weights by noise level stand for the dearest transforms."""
    from diffusion4k import objectives as named
    from diffusion4k.objectives.masks import EnergyMask
    from diffusion4k.objectives.norms import Absolute, PseudoHuber
    from diffusion4k.objectives.transforms import Bands, Wavelet
    from diffusion4k.objectives.weightings import MinSnr, SigmaSquared

    composed = named.Composed
    table = (
        Bands(1, ((1, 2, 4), (1, 1, 2)), sigma=0.2),
        Bands(1, ((1, 1, 1), (1, 1, 1)), sigma=0.8),
    )
    return {
        PLAIN: named.FlowMatching(),
        "wavelet-flow": named.WaveletFlow(),
        "wavelet-flow, latents": named.WaveletFlow(space="latents"),
        "wavelet-flow, db2": named.WaveletFlow("db2"),
        "wavelet-flow, unequal weights": named.WaveletFlow(band_weights=(1, 2, 2, 4)),
        "snr-huber-wavelet": named.SnrHuberWavelet(),
        "lwd": named.LatentWaveletDiffusion(),
        "lwd, of noisy latents": named.LatentWaveletDiffusion(of="noisy"),
        "sigma squared": composed(weighting=SigmaSquared()),
        "min-SNR": composed("latents", MinSnr()),
        "L1": composed(norm=Absolute()),
        "pseudo-Huber": composed(norm=PseudoHuber()),
        "two levels by sigma": composed(transform=Wavelet(levels=2, bands=table)),
        "all parts": composed(
            "latents", MinSnr(), Wavelet(levels=2, bands=table), PseudoHuber(), EnergyMask()
        ),
    }


class Step:
    """A step of the pocket model on random latents."""

    def __init__(self, side: int) -> None:
        import torch

        from diffusion4k.families import family_of, resolve

        torch.manual_seed(0)
        model = resolve("pocket")
        self.family = family_of(model)
        self.network = self.family.load_transformer(model, dtype=torch.float32)
        self.network.requires_grad_(True).train()
        rows = side // self.family.factor
        channels = self.network.config.in_channels
        empty = self.family.empty_conditioning(model, 1)
        self.conditioning = {k: torch.zeros(t.shape, dtype=t.dtype) for k, t in empty.items()}
        latents, noise, self.velocity = torch.randn(3, 1, channels, rows, rows)
        self.batch = {"latents": latents, "noise": noise, "sigma": torch.tensor([0.4])}

    def whole(self, objective: Any) -> None:
        """Forward, objective, backward."""
        from diffusion4k.training.step import denoising_loss

        loss = denoising_loss(
            self.family, self.network, objective, conditioning=self.conditioning, **self.batch
        )
        loss.mean().backward()
        self.network.zero_grad(set_to_none=True)

    def alone(self, objective: Any) -> None:
        """The objective, forward and backward, of a velocity at hand."""
        velocity = self.velocity.detach().requires_grad_()
        objective(velocity, **self.batch).mean().backward()


def in_turn(
    first: Callable[[], object], second: Callable[[], object], pairs: int
) -> tuple[list[float], list[float]]:
    """Seconds of each, the order changing from pair to pair, after one run of both."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 else (1, 0):
            times[which].append(seconds((first, second)[which]))
    return times


def cost(step: Step, objective: Any, plain: Any, pairs: int) -> dict[str, float]:
    """Of one objective beside flow matching."""
    ours, theirs = in_turn(lambda: step.whole(objective), lambda: step.whole(plain), pairs)
    alone, plain_alone = (
        1000 * statistics.median(times)
        for times in in_turn(lambda: step.alone(objective), lambda: step.alone(plain), 10 * pairs)
    )
    whole = 1000 * statistics.median(theirs)
    return {
        "step_ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 4),
        "plain_step_ms": round(whole, 1),
        "alone_ms": round(alone, 3),
        "plain_alone_ms": round(plain_alone, 3),
        "added_share": round((alone - plain_alone) / whole, 5),
    }


def needed(step: Step, objective: Any) -> int:
    """Bytes of weights, moments and what a step allocates at once, after a step that warms up."""
    from measured import allocated_peak

    step.whole(objective)
    held = sum(3 * 4 * p.numel() for p in step.network.parameters())
    return held + allocated_peak(lambda: step.whole(objective))


def main() -> None:
    """Time all objectives beside flow matching, measure their memory, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2, help="for the memory of each")
    parser.add_argument("--memory-of", help="one objective's two steps alone")
    options = parser.parse_args()
    if options.memory_of:
        print(needed(Step(options.side), objectives()[options.memory_of]))
        return
    step, every = Step(options.side), objectives()
    result: dict[str, Any] = {"side": options.side, "pairs": options.pairs}
    for name, objective in every.items():
        result[name] = found = cost(step, objective, every[PLAIN], options.pairs)
        print(
            f"{name}: step {found['step_ratio']:.4f}x, alone {found['alone_ms']:.2f} ms, "
            f"{100 * found['added_share']:+.3f}% of the step of {found['plain_step_ms']:.0f} ms"
        )
    for name in every:
        command = [__file__, "--side", str(options.side), "--memory-of", name]
        runs = [peak_memory(command) for _ in range(options.processes)]
        peak, exact = min(peak for peak, _ in runs), int(runs[0][1].splitlines()[-1])
        result[name] |= {"needed_bytes": exact, "process_peak_gib": round(peak, 4)}
        ratio, rough = (
            result[name][key] / result[PLAIN][key] for key in ("needed_bytes", "process_peak_gib")
        )
        result[name] |= {"memory_ratio": round(ratio, 4), "process_peak_ratio": round(rough, 4)}
        print(f"{name}: {exact / 2**20:.1f} MiB, {ratio:.4f}x (process {rough:.3f}x)")
    print(f"targets: step at most {TARGET_TIME}x, memory at most {TARGET_MEMORY}x")
    save("objectives", result)


if __name__ == "__main__":
    main()
