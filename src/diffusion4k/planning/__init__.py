"""What a training run or an image would take, known before it starts.

`Blueprint` is a model without weights, `Machine` where it is to run; `plan_training` and
`plan_generation` run its real networks on shapes alone (`tracker`) and come to a `Plan`.
"""

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import Machine, described_machine, present_machine
from diffusion4k.accounting.stages import PlannedStage
from diffusion4k.planning.generation import GenerationSetup, plan_generation
from diffusion4k.planning.plan import Change, Plan
from diffusion4k.planning.report import report, verdict
from diffusion4k.planning.training import plan_training
from diffusion4k.training.step_cost import TrainingSetup

__all__ = [
    "Blueprint",
    "Change",
    "GenerationSetup",
    "Machine",
    "Plan",
    "PlannedStage",
    "TrainingSetup",
    "described_machine",
    "plan_generation",
    "plan_training",
    "present_machine",
    "report",
    "verdict",
]
