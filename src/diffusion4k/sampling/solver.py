"""A second solver of the sampling equation, for stages of few steps.

Euler's method takes a straight step where the path is curved. In four steps from a noise level of
0.45 the fine detail that comes out has half the variance that it should have; DPM-Solver++(2M),
which remembers the step before, gets nearly all of it at the same cost (Lu et al., arXiv
2211.01095).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

if TYPE_CHECKING:
    import torch
    from diffusers import SchedulerMixin

__all__ = ["dpm_solver"]


class FlowSolver(DPMSolverMultistepScheduler):
    """The stock solver, which takes from a pipeline no more than the number of steps.

    Pipelines of models whose shift depends on the number of tokens give a scheduler noise levels
    and the logarithm of the shift, which the stock one refuses.
    """

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: "str | torch.device | None" = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """So many timesteps, or as many as there are `sigmas`, by the solver's own schedule."""
        steps = len(sigmas or ()) if num_inference_steps is None else num_inference_steps
        super().set_timesteps(steps, device)


def dpm_solver(
    scheduler: "SchedulerMixin", shift: float | None = None
) -> DPMSolverMultistepScheduler:
    """The stock DPM-Solver++(2M) for a model of that scheduler; one already stays as it is.

    Args:
        shift: of noise levels, where the scheduler's own depends on the number of tokens.
    """
    config = scheduler.config
    if isinstance(scheduler, DPMSolverMultistepScheduler):
        return scheduler
    if "prediction_type" in config:  # of noise or the like, not of flow matching
        return DPMSolverMultistepScheduler.from_config(config)
    return FlowSolver(
        num_train_timesteps=config.num_train_timesteps,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=config.shift if shift is None else shift,
    )
