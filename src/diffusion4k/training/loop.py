"""The training run: recipe in, pipeline folder out.

    for every step:  for every micro-batch: loss of (latents, noise, sigma) -> gradients
                     clip, optimizer step, weight average, curves; now and then validation,
                     checkpoint

Whatever is random is a function of the seed and of a sample's position in the run; everything else
is in the checkpoint: a run that was killed and started again ends with the same weights to the bit.
"""

import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import torch
from diffusers import ModelMixin
from PIL import Image

from diffusion4k.data.cache import LatentCache
from diffusion4k.data.uncached import UncachedLatents
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import Family, family_of, resolve
from diffusion4k.support.files import write_text
from diffusion4k.support.lock import locked
from diffusion4k.support.progress import Counter
from diffusion4k.support.versions import versions
from diffusion4k.training.background import BackgroundImages
from diffusion4k.training.check import check_recipe, require_space
from diffusion4k.training.checkpoint.card import model_card
from diffusion4k.training.checkpoint.checkpoint import (
    Retention,
    latest_checkpoint,
    read_state,
    set_aside_damaged,
)
from diffusion4k.training.checkpoint.export import export_adapter, export_pipeline
from diffusion4k.training.checkpoint.resume import resume_point
from diffusion4k.training.checkpoint.sharded import CheckpointWriter, TrainingState
from diffusion4k.training.engine.ema import WeightAverage
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.engine.network import load_network
from diffusion4k.training.engine.optimizers import make_optimizer
from diffusion4k.training.engine.parameters import trained_parameters
from diffusion4k.training.engine.randomness import draw_noise
from diffusion4k.training.inputs import Inputs, inputs_of, require_same_inputs
from diffusion4k.training.pictures import complete_cache, training_batches
from diffusion4k.training.recipe.build import (
    build_objective,
    build_precision,
    build_timesteps,
    chosen_engine,
    computes_in_bf16,
)
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.schedule import learning_rate
from diffusion4k.training.signals import StopRequest, TrainingStopped
from diffusion4k.training.stage import noise_for
from diffusion4k.training.step import denoising_loss
from diffusion4k.training.validation import Validation
from diffusion4k.training.watch.bands import BANDS, LossBySigma
from diffusion4k.training.watch.curve import Curve, RecentMean
from diffusion4k.training.watch.step_guard import Guard
from diffusion4k.training.watch.throughput import Throughput
from diffusion4k.training.watch.trackers import open_trackers

__all__ = ["train"]

_FAILED = 1 << 16  # above all signals: a checkpoint could not be written


def train(recipe: Recipe, *, skip_bad: bool = False, changed_inputs: bool = False) -> Path:
    """Run a recipe to its end, from its newest checkpoint if there is one; the result's folder.

    That is a pipeline, or with `lora` in the recipe the adapters alone.

    Builds the cache first where it is not complete; `skip_bad` leaves out broken photographs.
    `changed_inputs`: continues with other photographs, captions or base weights than it began with.

    Raises:
        UsageError: a recipe that cannot be run, or that is not the one of the checkpoint, or leads
            to other photographs or weights.
        Stopped: SIGTERM or Ctrl-C came; a checkpoint of the last step is written.
        Diffusion4kError: model, photographs or cache unusable, or a loss that is not finite.
    """
    model = resolve(recipe.model)
    family = family_of(model, **recipe.model_options)
    check_recipe(recipe, family, model)
    engine = Engine(chosen_engine(recipe), offload=recipe.offload, context=recipe.context_parallel)
    recipe = recipe.for_processes(engine.data_world)
    with locked(recipe.output) if engine.is_main else nullcontext():
        if engine.is_main:
            for damaged in set_aside_damaged(recipe.output / "checkpoints"):
                print(f"{damaged}: incomplete files, continuing without it", file=sys.stderr)
        engine.wait()
        checkpoint, first = resume_point(recipe, engine.data_world)
        inputs = None
        if checkpoint and engine.is_main:  # before the cache becomes one of other photographs
            inputs = inputs_of(recipe, model)
            require_same_inputs(checkpoint, inputs, changed=changed_inputs)
        cache = complete_cache(recipe, family, model, engine, skip_bad=skip_bad)
        if engine.is_main:
            inputs = inputs or inputs_of(recipe, model)
        run = _Run(recipe, engine, family, model, cache, checkpoint, first, inputs)
        try:
            run.go()
        finally:
            run.close()
        return run.export()


class _Run:
    """The state of a run: network, optimizer, weight average, curves."""

    def __init__(
        self,
        recipe: Recipe,
        engine: Engine,
        family: Family,
        model: Path,
        cache: LatentCache | UncachedLatents,
        checkpoint: Path | None,
        first: int,
        inputs: Inputs | None,
    ) -> None:
        self.recipe, self.engine, self.family, self.model = recipe, engine, family, model
        self.resumed, self.first, self.inputs = checkpoint is not None, first, inputs
        self.batches = training_batches(recipe, cache, engine.data_world)
        for line in self.batches.lines():
            self._say(line)
        self.precision = build_precision(recipe, engine.device)
        self.validation = Validation(recipe, family, model, cache, engine.device)
        self.objective = build_objective(recipe)
        self.timesteps = build_timesteps(recipe, family, model)

        # First, as counting leaves holes in the memory.
        pictures = recipe.batch_size * recipe.gradient_accumulation * engine.data_world
        self.throughput = (
            Throughput(recipe, model, pictures, engine.device) if engine.is_main else None
        )
        self.transformer = engine.place(
            lambda: load_network(recipe, family, model, engine.device),
            bfloat16=computes_in_bf16(recipe, engine.device),
        )
        self.network = engine.spread(self.transformer)
        self.optimizer = engine.share_out(make_optimizer(recipe.optimizer, self.transformer))
        self.average = WeightAverage(self.transformer, recipe.ema) if recipe.ema else None
        self.guard, self.bands = Guard(recipe.guard), LossBySigma()
        wanted = recipe.validation
        self.background = (
            BackgroundImages(recipe.output, len(wanted.prompts), wanted.device)
            if wanted.background and wanted.prompts and engine.is_main
            else None
        )
        self.state = TrainingState(self.transformer, self.optimizer, self.average)
        self.folder = recipe.output / "checkpoints"
        keep = Retention(recipe.checkpoint.keep, recipe.checkpoint.keep_every)
        self.writer = CheckpointWriter(self.folder, engine, keep=keep)
        if checkpoint:
            self._say(f"resuming from {checkpoint}")
            self.state.load(checkpoint, alone=engine.world == 1)
            about = read_state(checkpoint)
            self.guard.load(about["guard"])
            self.bands.load(about["bands"])
        if engine.is_main:
            require_space(recipe, self.transformer)
            write_text(recipe.output / "recipe.yaml", recipe.as_yaml())
            after = first if checkpoint else -1
            columns = ("loss", "learning_rate", "gradient_norm")
            self.curve = Curve(recipe.output / "loss.csv", columns, resume_after=after)
            self.validation_curve = Curve(
                recipe.output / "validation.csv", ("loss",), resume_after=after
            )
            self.bands_curve = Curve(recipe.output / "bands.csv", BANDS, resume_after=after)
            content = recipe.model_dump(mode="json")
            self.trackers = open_trackers(recipe.log, recipe.output, content, resume_after=after)

    def go(self) -> None:
        """All steps that are left."""
        recipe, engine = self.recipe, self.engine
        if not self.resumed:
            self._validate(0)
        images = recipe.batch_size * recipe.gradient_accumulation * engine.data_world
        progress = Counter(
            *("steps", recipe.steps),
            done=self.first,
            each=images,
            unit="images",
            shown=engine.is_main,
        )
        recent = RecentMean()
        with StopRequest() as stop, progress:
            for done in range(self.first + 1, recipe.steps + 1):
                loss, norm, rate = self._step(done - 1)
                progress.advance(recent.add(loss))
                is_logged = done % recipe.log.every == 0
                bands = self.bands.row() if is_logged else {}
                if engine.is_main:
                    self.curve.add(done, loss, rate, norm)
                    values = {"loss": loss, "learning_rate": rate, "gradient_norm": norm}
                    values["skipped_steps"] = self.guard.skipped
                    if is_logged:
                        self.bands_curve.add(done, *bands.values())
                        assert self.throughput
                        values |= bands | self.throughput.row(recipe.log.every)
                    self._track(done, {f"train/{name}": value for name, value in values.items()})
                    self._show_images(self.background.poll() if self.background else [])
                last, every = done == recipe.steps, recipe.validation.every
                if every and (done % every == 0 or last):
                    self._validate(done)
                # Processes hear of a signal at different times, and all must stop after the same
                # step.
                signal = engine.highest(_FAILED if self.writer.has_failed else stop.number)
                if done % recipe.checkpoint.every == 0 or last or signal:
                    self._save(done)
                if signal:
                    self.writer.finish()
                    raise TrainingStopped(
                        f"stopped by signal {signal} after step {done} of {recipe.steps}, saved in "
                        f"{latest_checkpoint(self.folder)}: run the same command to continue",
                        signal,
                    )
        self.writer.finish()
        self._show_images(self.background.finish() if self.background else [])

    def export(self) -> Path:
        """Write the result as a pipeline folder, or as one of adapters."""
        recipe, engine = self.recipe, self.engine
        path = recipe.output / ("lora" if recipe.lora else "model")
        with self._averaged():
            transformer = self._whole()
            if engine.is_main:
                losses = Curve.read(recipe.output / "validation.csv")
                loss = float(losses[-1]["loss"]) if losses else None
                card = model_card(recipe, self.family, self.model, loss)
                if recipe.lora:
                    made_for = {"family": self.family.name, "base_model": recipe.model}
                    export_adapter(path, transformer, card=card, made_for=made_for)
                else:
                    export_pipeline(
                        path,
                        base=self.model,
                        family=self.family,
                        transformer=transformer,
                        card=card,
                        drafted_by=recipe.model,
                        first_stage=recipe.first_stage,
                    )
        engine.wait()
        return path

    def _whole(self) -> ModelMixin:
        """The transformer with whole weights; of use in the first process alone."""
        if not self.engine.is_sharded:
            return self.transformer
        state = self.engine.whole_state(self.transformer)
        if not self.engine.is_main:
            return self.transformer
        whole = load_network(self.recipe, self.family, self.model, torch.device("cpu"))
        whole.load_state_dict(state)
        return whole

    def close(self) -> None:
        """Close the curves."""
        self.writer.close()
        if self.engine.is_main:
            for curve in (self.curve, self.validation_curve, self.bands_curve):
                curve.close()
            for tracker in self.trackers:
                tracker.close()
            if self.background:
                self.background.close()

    def _step(self, step: int) -> tuple[float, float, float]:
        """One optimizer step; loss, norm of the gradient before clipping, learning rate."""
        recipe, engine = self.recipe, self.engine
        rate = learning_rate(
            recipe.schedule, base=recipe.optimizer.learning_rate, step=step, steps=recipe.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = recipe.gradient_accumulation
        # The loss, and behind it what `LossBySigma` measures.
        total = torch.zeros(1 + 2 * len(BANDS), dtype=torch.float64, device=engine.device)
        for micro in range(parts):
            is_last = micro == parts - 1
            with nullcontext() if is_last else engine.local_gradients(self.network):
                loss, measured = self._loss(step, micro)
                # Processes on the same pictures have a part of the gradient each, and of all
                # processes the mean is taken.
                engine.backward(loss / parts * engine.context, last=is_last)
            total[0] += loss.detach() / parts
            total[1:] += measured
        loss_value, *measured_everywhere = engine.sums(total)
        loss_value /= engine.world
        norm = engine.clip(self.transformer.parameters(), recipe.clip_norm)
        if reason := self.guard.judge(loss_value, norm):
            self._skip(step, reason)
            return loss_value, norm, rate
        self.bands.add(measured_everywhere)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(self.transformer)
        return loss_value, norm, rate

    def _skip(self, step: int, reason: str) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if not self.guard.has_enough:
            self._say(f"step {step + 1} skipped: {reason}")
            return
        with suppress(Diffusion4kError):
            self.writer.finish()
        raise Diffusion4kError(
            f"step {step + 1}: {reason}; last good checkpoint: "
            f"{latest_checkpoint(self.folder) or 'none'}; in a new output, try a lower "
            "optimizer.learning_rate or precision=fp32"
        )

    def _loss(self, step: int, micro: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss of a micro-batch, and what `LossBySigma` measures of it."""
        device = self.engine.device
        batch = self.batches.batch(step, micro, self.engine.data_rank, self.engine.data_world)
        latents, conditioning = batch["latents"], batch["conditioning"]
        noise, sigma = draw_noise(
            self.recipe.seed, batch["places"], latents.shape[1:], self.timesteps
        )
        noise = noise_for(self.recipe.stage, noise, batch)
        question = {"latents": latents, "noise": noise, "sigma": sigma}
        question = {name: tensor.to(device) for name, tensor in question.items()}
        measured: list[torch.Tensor] = []
        with self.precision():
            loss = denoising_loss(
                self.family,
                self.network,
                self.objective,
                conditioning={name: tensor.to(device) for name, tensor in conditioning.items()},
                watch=lambda velocity, each: measured.append(
                    LossBySigma.measure(velocity, **question, loss=each)
                ),
                **question,
            ).mean()
        return loss, measured[0]

    def _validate(self, done: int) -> None:
        if self.recipe.validation.every and (self.engine.is_main or self.engine.computes_together):
            with self._averaged():
                loss = self.validation.loss(self.transformer)
                images = self._validation_images(done)
            if self.engine.is_main:
                if loss is not None:
                    self.validation_curve.add(done, loss)
                    self._track(done, {"validation/loss": loss})
                self._show_images(images)
        self.engine.wait()

    def _validation_images(self, done: int) -> list[tuple[int, list[Image.Image]]]:
        """Step and images that are finished: those of this step, or of an earlier one."""
        wanted = self.recipe.validation
        if not wanted.prompts:
            return []
        if not wanted.background:
            made = self.validation.images(self.transformer, done, keep=self.engine.is_main)
            return [(done, made)]
        weights = self.engine.whole(trained_parameters(self.transformer))
        return self.background.start(done, weights) if self.background else []

    def _show_images(self, finished: list[tuple[int, list[Image.Image]]]) -> None:
        for step, images in finished:
            for number, image in enumerate(images, 1):
                for tracker in self.trackers:
                    tracker.add_image(step, f"validation/{number:02}", image)

    def _track(self, step: int, values: dict[str, float]) -> None:
        for tracker in self.trackers:
            tracker.add(step, values)

    def _save(self, done: int) -> None:
        if self.engine.is_main:
            self.curve.sync()
            self.validation_curve.sync()
            self.bands_curve.sync()
        about = {
            "processes": self.engine.data_world,
            "recipe": self.recipe.model_dump(mode="json"),
            "inputs": self.inputs.state() if self.inputs else {},
            "versions": versions(),
            "guard": self.guard.state(),
            "bands": self.bands.state(),
        }
        self.writer.save(done, self.state, about)

    def _averaged(self) -> AbstractContextManager[None]:
        return self.average.applied_to(self.transformer) if self.average else nullcontext()

    def _say(self, text: str) -> None:
        if self.engine.is_main:
            print(text, file=sys.stderr, flush=True)
