"""The training run: recipe in, pipeline folder out.

    for every step:  for every micro-batch: loss of (latents, noise, sigma) -> gradients
                     clip, optimizer step, weight average, curves; now and then validation,
                     checkpoint

Whatever is random is a function of the seed and of a sample's position in the run; everything else
is in the checkpoint: a run that was killed and started again ends with the same weights to the bit.
"""

from contextlib import nullcontext
from pathlib import Path

import torch

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import family_of, resolve
from diffusion4k.support.files import write_text
from diffusion4k.support.lock import locked
from diffusion4k.support.progress import Counter
from diffusion4k.training.check import check_recipe, require_space
from diffusion4k.training.checkpoint.card import model_card
from diffusion4k.training.checkpoint.export import export_adapter, export_pipeline
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.engine.optimizers import learning_rate
from diffusion4k.training.inputs import inputs_of
from diffusion4k.training.method import build_method
from diffusion4k.training.pictures import complete_cache, training_batches
from diffusion4k.training.recipe.build import chosen_engine
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.run import TrainingRun, set_up
from diffusion4k.training.saving import Saving
from diffusion4k.training.signals import StopRequest, TrainingStopped
from diffusion4k.training.start import starting_point
from diffusion4k.training.validation import build_validation
from diffusion4k.training.watch.bands import BANDS, LossBySigma
from diffusion4k.training.watch.curve import Curve, RecentMean
from diffusion4k.training.watch.throughput import throughput_of
from diffusion4k.training.watchers import Watchers

__all__ = ["train"]


def train(recipe: Recipe, *, skip_bad: bool = False, changed_inputs: bool = False) -> Path:
    """Run a recipe to its end, from its newest checkpoint if there is one; the result's folder.

    That is a pipeline, or with `lora` in the recipe the adapters alone.

    Builds the cache first where it is not complete; `skip_bad` leaves out broken photographs.
    `changed_inputs`: continues with other photographs, captions or base weights than it began with.

    Raises:
        UsageError: a recipe that cannot be run, or that is not the one of the checkpoint, or leads
            to other photographs or weights.
        TrainingStopped: SIGTERM or Ctrl-C came; a checkpoint of the last step is written.
        Diffusion4kError: model, photographs or cache unusable, or a loss that is not finite.
    """
    model = resolve(recipe.model)
    family = family_of(model, **recipe.model_options)
    check_recipe(recipe, family, model)
    engine = Engine(chosen_engine(recipe), offload=recipe.offload, context=recipe.context_parallel)
    recipe = recipe.for_processes(engine.data_world)
    with locked(recipe.output) if engine.is_main else nullcontext():
        start = starting_point(
            recipe, engine, lambda: inputs_of(recipe, model), changed=changed_inputs
        )
        cache = complete_cache(recipe, family, model, engine, skip_bad=skip_bad)
        inputs = (start.inputs or inputs_of(recipe, model)) if engine.is_main else None
        batches = training_batches(recipe, cache, engine.data_world)
        for line in batches.lines():
            engine.say(line)
        method = build_method(recipe, family, model, engine.device)
        validation = build_validation(recipe, method, model, cache)
        # Before the network, as counting leaves holes in the memory.
        throughput = throughput_of(recipe, model, engine) if engine.is_main else None
        run = set_up(recipe, engine, family, model, method, batches)
        saving = Saving(run, inputs)
        if start.checkpoint:
            saving.resume(start.checkpoint)
        if engine.is_main:
            require_space(recipe, run.transformer)
            write_text(recipe.output / "recipe.yaml", recipe.as_yaml())
        watchers = Watchers(run, validation, throughput, resume_after=start.resume_after)
        try:
            fit(run, watchers, saving, after=start.resume_after)
        finally:
            saving.close()
            watchers.close()
        return _export(run)


def fit(run: TrainingRun, watchers: Watchers, saving: Saving, *, after: int) -> None:
    """All steps that are left; `after` is the last one done, -1 of a run that begins.

    Raises:
        TrainingStopped: a signal came, and all is saved.
        Diffusion4kError: a loss that is not finite, or a checkpoint that cannot be written.
    """
    recipe, engine, first = run.recipe, run.engine, max(after, 0)
    if after < 0:
        watchers.validate(0)
    progress = Counter(
        *("steps", recipe.steps),
        done=first,
        each=run.pictures_per_step,
        unit="images",
        shown=engine.is_main,
    )
    recent = RecentMean()
    with StopRequest() as stop, progress:
        for done in range(first + 1, recipe.steps + 1):
            loss, norm, rate = take_step(run, done - 1)
            if run.guard.has_enough:
                raise _diverged(done, run.guard.reason, saving)
            progress.advance(recent.add(loss))
            watchers.after_step(done, loss, norm, rate)
            # Processes hear of a signal at different times, and all must stop after the same step.
            signal = engine.highest(saving.reason_to_stop(stop.number))
            if done % recipe.checkpoint.every == 0 or done == recipe.steps or signal:
                watchers.sync()
                saving.save(done)
            if signal:
                saving.finish()
                raise TrainingStopped(
                    f"stopped by signal {signal} after step {done} of {recipe.steps}, saved in "
                    f"{saving.latest()}: run the same command to continue",
                    signal,
                )
    saving.finish()
    watchers.finish()


def take_step(run: TrainingRun, step: int) -> tuple[float, float, float]:
    """One optimizer step; loss, norm of the gradient before clipping, learning rate.

    A step that the guard refuses changes nothing.
    """
    recipe, engine, parts = run.recipe, run.engine, run.recipe.gradient_accumulation
    rate = learning_rate(
        recipe.schedule, base=recipe.optimizer.learning_rate, step=step, steps=recipe.steps
    )
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    # The loss, and behind it what `LossBySigma` measures.
    total = torch.zeros(1 + 2 * len(BANDS), dtype=torch.float64, device=engine.device)
    for micro in range(parts):
        is_last = micro == parts - 1
        with nullcontext() if is_last else engine.local_gradients(run.network):
            loss, measured = _loss(run, step, micro)
            # Processes on the same pictures have a part of the gradient each, and of all
            # processes the mean is taken.
            engine.backward(loss / parts * engine.context, last=is_last)
        total[0] += loss.detach() / parts
        total[1:] += measured
    loss_value, *measured_everywhere = engine.sums(total)
    loss_value /= engine.world
    norm = engine.clip(run.transformer.parameters(), recipe.clip_norm)
    if reason := run.guard.judge(loss_value, norm):
        run.optimizer.zero_grad(set_to_none=True)
        if not run.guard.has_enough:
            run.engine.say(f"step {step + 1} skipped: {reason}")
        return loss_value, norm, rate
    run.bands.add(measured_everywhere)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    if run.average:
        run.average.update(run.transformer)
    return loss_value, norm, rate


def _loss(run: TrainingRun, step: int, micro: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean loss of a micro-batch, and what `LossBySigma` measures of it."""
    batch = run.batches.batch(step, micro, run.engine.data_rank, run.engine.data_world)
    question = run.method.drawn(run.recipe.seed, batch)
    measured: list[torch.Tensor] = []
    loss = run.method.losses(
        run.network,
        question,
        watch=lambda velocity, each: measured.append(
            LossBySigma.measure(
                velocity,
                latents=question["latents"],
                noise=question["noise"],
                sigma=question["sigma"],
                loss=each,
            )
        ),
    )
    return loss.mean(), measured[0]


def _diverged(done: int, reason: str, saving: Saving) -> Diffusion4kError:
    return Diffusion4kError(
        f"step {done}: {reason}; last good checkpoint: {saving.latest() or 'none'}; in a new "
        "output, try a lower optimizer.learning_rate or precision=fp32"
    )


def _export(run: TrainingRun) -> Path:
    """Write the result as a pipeline folder, or as one of adapters."""
    recipe, family = run.recipe, run.method.family
    path = recipe.output / ("lora" if recipe.lora else "model")
    with run.averaged():
        transformer = run.whole()
        if run.engine.is_main:
            losses = Curve.read(recipe.output / "validation.csv")
            loss = float(losses[-1]["loss"]) if losses else None
            card = model_card(recipe, family, run.model, loss)
            if recipe.lora:
                made_for = {"family": family.name, "base_model": recipe.model}
                export_adapter(path, transformer, card=card, made_for=made_for)
            else:
                export_pipeline(
                    path,
                    base=run.model,
                    family=family,
                    transformer=transformer,
                    card=card,
                    drafted_by=recipe.model,
                    first_stage=recipe.first_stage,
                )
    run.engine.wait()
    return path
