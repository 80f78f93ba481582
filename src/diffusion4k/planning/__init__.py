"""What a training run or an image would take, known before it starts.

`Blueprint` is a model without weights, `Machine` where it shall run; `plan_training` and
`plan_generation` run its real networks on shapes alone (`tracker`) and come to a `Plan`.
"""

from diffusion4k.planning.blueprint import Blueprint
from diffusion4k.planning.generation import GenerationSetup, plan_generation
from diffusion4k.planning.machine import Machine, described_machine, present_machine
from diffusion4k.planning.plan import Change, Plan
from diffusion4k.planning.report import report, verdict
from diffusion4k.planning.stages import Stage, TrainingSetup
from diffusion4k.planning.training import plan_training

__all__ = [
    "Blueprint",
    "Change",
    "GenerationSetup",
    "Machine",
    "Plan",
    "Stage",
    "TrainingSetup",
    "described_machine",
    "plan_generation",
    "plan_training",
    "present_machine",
    "report",
    "verdict",
]
