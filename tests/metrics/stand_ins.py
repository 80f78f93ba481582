"""Stand-ins for packages that cannot be installed beside the tests, as they pull torchvision.

They have the interface of pyiqa 0.1.16 and hpsv3 1.0.0 as far as it is used, and scores of their
own: what is tested with them is the way to the packages, not the packages' numbers.
"""

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

__all__ = ["install_hpsv3", "install_pyiqa"]


class _Metric(nn.Module):
    """As pyiqa's InferenceModel: refuses what that refuses."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.lower_better = name == "niqe"
        self.weight = nn.Parameter(torch.tensor([0.5, 0.3, 0.2]))
        self.failure: Exception | None = None

    def forward(self, target: Tensor) -> Tensor:
        assert target.ndim == 4 and target.shape[1] == 3, "Input must be RGB"
        assert target.min() >= 0 and target.max() <= 1, "Input must be normalized to [0, 1]"
        if self.failure:
            raise self.failure
        return (target.mean((2, 3)) * self.weight).sum(1, keepdim=True)


def install_pyiqa(patch: pytest.MonkeyPatch) -> list[_Metric]:
    """A module `pyiqa`; the metrics it makes are added to the list that is returned."""
    made: list[_Metric] = []

    def create_metric(metric_name: str, as_loss: bool = False, device: Any = None) -> _Metric:
        assert isinstance(device, torch.device)
        assert metric_name in ("niqe", "musiq", "maniqa"), f"Metric {metric_name} not implemented"
        made.append(_Metric(metric_name).to(device))
        return made[-1]

    module = types.ModuleType("pyiqa")
    module.create_metric = create_metric  # type: ignore[attr-defined]
    module.__version__ = "0.0.stand-in"
    patch.setitem(sys.modules, "pyiqa", module)
    return made


def install_hpsv3(patch: pytest.MonkeyPatch) -> None:
    """A module `hpsv3` whose score is the picture's brightness and the prompt's length."""

    class HPSv3RewardInferencer:
        def __init__(
            self,
            config_path: str | None = None,
            checkpoint_path: str | None = None,
            device: str = "cuda",
        ) -> None:
            assert checkpoint_path is not None
            if "broken" in checkpoint_path:
                raise RuntimeError("Error(s) in loading\nstate_dict")

        def reward(self, image_paths: list[Image.Image], prompts: list[str]) -> Tensor:
            if prompts == ["too much"]:
                raise RuntimeError("CUDA out of memory")
            pairs = zip(image_paths, prompts, strict=True)
            return torch.tensor([[np.asarray(i).mean() + len(p), 9.0] for i, p in pairs])

    module = types.ModuleType("hpsv3")
    module.HPSv3RewardInferencer = HPSv3RewardInferencer  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "hpsv3", module)
