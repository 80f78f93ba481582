"""Learning rates against PyTorch's own schedulers."""

import pytest
import torch

from diffusion4k.training.engine.optimizers import learning_rate
from diffusion4k.training.recipe.recipe import ScheduleRecipe


def _rates(name: str, warmup: int, steps: int) -> list[float]:
    schedule = ScheduleRecipe(name=name, warmup_steps=warmup)
    return [learning_rate(schedule, base=3e-4, step=s, steps=steps) for s in range(steps)]


def _of_torch(scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def _optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)


def test_constant_with_warmup() -> None:
    reference = torch.optim.lr_scheduler.LinearLR(
        _optimizer(), start_factor=1 / 5, end_factor=1, total_iters=4
    )
    assert _rates("constant", 5, 12) == pytest.approx(_of_torch(reference, 12), rel=1e-12)


def test_cosine() -> None:
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(_optimizer(), T_max=20)
    assert _rates("cosine", 0, 20) == pytest.approx(_of_torch(reference, 20), rel=1e-9)


def test_cosine_after_warmup() -> None:
    rates = _rates("cosine", 5, 25)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(_optimizer(), T_max=20)
    assert rates[:5] == pytest.approx([3e-4 * k / 5 for k in range(1, 6)])
    assert rates[5:] == pytest.approx(_of_torch(reference, 20), rel=1e-9)
