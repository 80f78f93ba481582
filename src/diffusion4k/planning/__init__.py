"""What a training run or an image would take, known before it starts.

`training.plan_training` and `generation.plan_generation` run a model's real networks on shapes
alone and come to a `plan.Plan`; `accounting.blueprint.Blueprint` is the model without weights,
`accounting.machine.Machine` where it is to run. `first_look` refuses a recipe before any of that is
imported, so nothing is imported here.
"""
