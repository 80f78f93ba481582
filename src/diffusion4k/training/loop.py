"""The training run: recipe in, pipeline folder out.

    for every step:  for every micro-batch: loss of (latents, noise, sigma) -> gradients
                     clip, AdamW, weight average, curves; now and then validation, checkpoint

Whatever is random is a function of the seed and of a sample's place in the run, and everything else
is in the checkpoint: a run that was killed and started again ends with the same weights to the bit.
"""

import math
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import torch
from diffusers import ModelMixin

from diffusion4k.data.cache import LatentCache
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import Family, family_of, resolve
from diffusion4k.files import write_text
from diffusion4k.training.build import (
    build_objective,
    build_optimizer,
    build_precision,
    build_timesteps,
    computes_in_bf16,
)
from diffusion4k.training.card import model_card
from diffusion4k.training.check import check_recipe, require_space
from diffusion4k.training.checkpoint import latest_checkpoint, set_aside_damaged
from diffusion4k.training.ema import WeightAverage
from diffusion4k.training.engine import Engine
from diffusion4k.training.export import export_adapter, export_pipeline, versions
from diffusion4k.training.lock import locked
from diffusion4k.training.log import Board, Curve, StepProgress
from diffusion4k.training.network import load_network
from diffusion4k.training.pictures import complete_cache, training_batches
from diffusion4k.training.randomness import draw_noise
from diffusion4k.training.recipe import Recipe
from diffusion4k.training.resume import resume_point
from diffusion4k.training.schedule import learning_rate
from diffusion4k.training.sharded import CheckpointWriter, TrainingState
from diffusion4k.training.signals import Stopped, StopRequest
from diffusion4k.training.step import denoising_loss
from diffusion4k.training.validation import Validation

__all__ = ["train"]

_FAILED = 1 << 16  # above all signals: a checkpoint could not be written


def train(recipe: Recipe, *, skip_bad: bool = False) -> Path:
    """Run a recipe to its end, from its newest checkpoint if there is one; the result's folder.

    That is a pipeline, or with `lora` in the recipe the adapters alone.

    Builds the cache first where it is not complete; `skip_bad` leaves out broken photographs.

    Raises:
        UsageError: a recipe that cannot be run, or that is not the one of the checkpoint.
        Stopped: SIGTERM or Ctrl-C came; a checkpoint of the last step is written.
        Diffusion4kError: model, photographs or cache unusable, or a loss that is not finite.
    """
    model = resolve(recipe.model)
    family = family_of(model, high_resolution=recipe.high_resolution_options)
    check_recipe(recipe, family, model)
    engine = Engine(recipe.engine)
    with locked(recipe.output) if engine.is_main else nullcontext():
        if engine.is_main:
            for damaged in set_aside_damaged(recipe.output / "checkpoints"):
                print(f"{damaged}: incomplete files, going on without it", file=sys.stderr)
        engine.wait()
        checkpoint, first = resume_point(recipe, engine.world)
        cache = complete_cache(recipe, family, model, engine, skip_bad=skip_bad)
        run = _Run(recipe, engine, family, model, cache, checkpoint, first)
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
        cache: LatentCache,
        checkpoint: Path | None,
        first: int,
    ) -> None:
        self.recipe, self.engine, self.family, self.model = recipe, engine, family, model
        self.resumed, self.first = checkpoint is not None, first
        self.batches = training_batches(recipe, cache, engine.world)
        for line in self.batches.lines():
            self._say(line)
        self.precision = build_precision(recipe, engine.device)
        self.validation = Validation(recipe, family, model, cache, engine.device)
        self.objective = build_objective(recipe)
        self.timesteps = build_timesteps(recipe, family, model)

        self.transformer = load_network(recipe, family, model, engine.device)
        bfloat16 = computes_in_bf16(recipe, engine.device)
        self.network = engine.spread(self.transformer, bfloat16=bfloat16)
        self.optimizer = build_optimizer(recipe, self.transformer)
        self.average = WeightAverage(self.transformer, recipe.ema) if recipe.ema else None
        self.state = TrainingState(self.transformer, self.optimizer, self.average)
        self.folder = recipe.output / "checkpoints"
        self.writer = CheckpointWriter(self.folder, engine, keep=recipe.checkpoint.keep)
        if checkpoint:
            self._say(f"going on from {checkpoint}")
            self.state.load(checkpoint, alone=engine.world == 1)
        if engine.is_main:
            require_space(recipe, self.transformer)
            write_text(recipe.output / "recipe.yaml", recipe.as_yaml())
            after = first if checkpoint else -1
            columns = ("loss", "learning_rate", "gradient_norm")
            self.curve = Curve(recipe.output / "loss.csv", columns, resume_after=after)
            self.validation_curve = Curve(
                recipe.output / "validation.csv", ("loss",), resume_after=after
            )
            self.board = Board(recipe.output / "tensorboard", resume_after=after)

    def go(self) -> None:
        """All steps that are left."""
        recipe, engine = self.recipe, self.engine
        images_per_step = recipe.batch_size * recipe.gradient_accumulation * engine.world
        if not self.resumed:
            self._validate(0)
        progress = StepProgress(
            done=self.first,
            steps=recipe.steps,
            images_per_step=images_per_step,
            enabled=engine.is_main,
        )
        with StopRequest() as stop, progress:
            for done in range(self.first + 1, recipe.steps + 1):
                loss, norm, rate = self._step(done - 1)
                images_per_second = progress.update(done, loss)
                if engine.is_main:
                    self.curve.add(done, loss, rate, norm)
                    self.board.add(
                        done,
                        train__loss=loss,
                        train__learning_rate=rate,
                        train__gradient_norm=norm,
                        train__images_per_second=images_per_second,
                    )
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
                    raise Stopped(
                        f"stopped by signal {signal} after step {done} of {recipe.steps}, saved in "
                        f"{latest_checkpoint(self.folder)}: run the same command to go on",
                        signal,
                    )
        self.writer.finish()

    def export(self) -> Path:
        """Write the result as a pipeline folder, or as one of adapters."""
        recipe, engine = self.recipe, self.engine
        path = recipe.output / ("lora" if recipe.lora else "model")
        with self._averaged():
            transformer = self._whole()
            if engine.is_main:
                losses = Curve.read(recipe.output / "validation.csv")
                loss = float(losses[-1]["loss"]) if losses else None
                card = model_card(recipe, self.family.factor, loss)
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
            for log in (self.curve, self.validation_curve, self.board):
                log.close()

    def _step(self, step: int) -> tuple[float, float, float]:
        """One optimizer step; loss, norm of the gradient before clipping, learning rate."""
        recipe, engine = self.recipe, self.engine
        rate = learning_rate(
            recipe.schedule, base=recipe.optimizer.learning_rate, step=step, steps=recipe.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = recipe.gradient_accumulation
        total = torch.zeros((), device=engine.device)
        for micro in range(parts):
            is_last = micro == parts - 1
            with nullcontext() if is_last else engine.local_gradients(self.network):
                loss = self._loss(step, micro) / parts
                loss.backward()
            total += loss.detach()
        loss_value = engine.mean(total)
        norm = engine.clip(self.transformer.parameters(), recipe.clip_norm)
        if not (math.isfinite(loss_value) and math.isfinite(norm)):
            with suppress(Diffusion4kError):
                self.writer.finish()
            raise Diffusion4kError(
                f"step {step + 1}: loss {loss_value}, gradient norm {norm}; last good checkpoint: "
                f"{latest_checkpoint(self.folder) or 'none'}; in a new output, try a lower "
                "optimizer.learning_rate or precision=fp32"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(self.transformer)
        return loss_value, norm, rate

    def _loss(self, step: int, micro: int) -> torch.Tensor:
        device = self.engine.device
        batch = self.batches.batch(step, micro, self.engine.rank, self.engine.world)
        latents, conditioning = batch["latents"], batch["conditioning"]
        noise, sigma = draw_noise(
            self.recipe.seed, batch["places"], latents.shape[1:], self.timesteps
        )
        with self.precision():
            return denoising_loss(
                self.family,
                self.network,
                self.objective,
                latents=latents.to(device),
                conditioning={name: tensor.to(device) for name, tensor in conditioning.items()},
                noise=noise.to(device),
                sigma=sigma.to(device),
            ).mean()

    def _validate(self, done: int) -> None:
        if self.recipe.validation.every and (self.engine.is_main or self.engine.is_sharded):
            with self._averaged():
                loss = self.validation.loss(self.transformer)
                images = self.validation.images(self.transformer, done, keep=self.engine.is_main)
            if self.engine.is_main:
                if loss is not None:
                    self.validation_curve.add(done, loss)
                    self.board.add(done, validation__loss=loss)
                for number, image in enumerate(images, 1):
                    self.board.add_image(done, f"validation/{number:02}", image)
        self.engine.wait()

    def _save(self, done: int) -> None:
        if self.engine.is_main:
            self.curve.sync()
            self.validation_curve.sync()
        about = {
            "processes": self.engine.world,
            "recipe": self.recipe.model_dump(mode="json"),
            "versions": versions(),
        }
        self.writer.save(done, self.state, about)

    def _averaged(self) -> AbstractContextManager[None]:
        return self.average.applied_to(self.transformer) if self.average else nullcontext()

    def _say(self, text: str) -> None:
        if self.engine.is_main:
            print(text, file=sys.stderr, flush=True)
