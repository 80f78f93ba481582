"""The weight average against its closed form."""

import torch
from torch import nn

from diffusion4k.training.engine.ema import WeightAverage


def test_closed_form() -> None:
    torch.manual_seed(0)
    module = nn.Linear(3, 2).double()
    average = WeightAverage(module, decay=0.9)
    seen = [module.weight.detach().clone()]
    for _ in range(7):
        with torch.no_grad():
            module.weight.normal_()
        seen.append(module.weight.detach().clone())
        average.update(module)
    expected = 0.9**7 * seen[0] + 0.1 * sum(0.9 ** (7 - k) * seen[k] for k in range(1, 8))
    torch.testing.assert_close(average.weights["weight"], expected, rtol=1e-12, atol=1e-14)


def test_applied_for_a_while_only() -> None:
    module = nn.Linear(3, 2)
    average = WeightAverage(module, decay=0.5)
    before = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1)
    average.update(module)
    with average.applied_to(module):
        torch.testing.assert_close(module.weight.data, before + 0.5)
    torch.testing.assert_close(module.weight.data, before + 1)
    torch.testing.assert_close(average.weights["weight"], before + 0.5)
