"""The training run: recipe in, pipeline folder out.

    for every step:  for every micro-batch: loss of (latents, noise, sigma) -> gradients
                     clip, AdamW, weight average, curves; now and then validation, checkpoint

Whatever is random is a function of the seed and of a sample's place in the run, and everything else
is in the checkpoint: a run that was killed and started again ends with the same weights to the bit.
"""

import math
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

from diffusion4k.data.cache import LatentCache
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import Family, family_of, resolve
from diffusion4k.files import write_text
from diffusion4k.training.build import (
    build_objective,
    build_optimizer,
    build_precision,
    build_timesteps,
)
from diffusion4k.training.card import model_card
from diffusion4k.training.check import check_recipe, require_space
from diffusion4k.training.checkpoint import load_average, load_optimizer, save_checkpoint
from diffusion4k.training.ema import WeightAverage
from diffusion4k.training.export import export_adapter, export_pipeline, versions
from diffusion4k.training.lock import locked
from diffusion4k.training.log import Board, Curve, StepProgress
from diffusion4k.training.network import load_network
from diffusion4k.training.pictures import complete_cache, training_batches
from diffusion4k.training.randomness import draw_noise
from diffusion4k.training.recipe import Recipe
from diffusion4k.training.resume import resume_point
from diffusion4k.training.schedule import learning_rate
from diffusion4k.training.signals import Stopped, StopRequest
from diffusion4k.training.step import denoising_loss
from diffusion4k.training.validation import Validation

__all__ = ["train"]


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
    # The others wait while the first process fills the cache or makes validation images.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[patience])
    with locked(recipe.output) if accelerator.is_main_process else nullcontext():
        checkpoint, first = resume_point(recipe, accelerator.num_processes)
        cache = complete_cache(recipe, family, model, accelerator, skip_bad=skip_bad)
        run = _Run(recipe, accelerator, family, model, cache, checkpoint, first)
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
        accelerator: Accelerator,
        family: Family,
        model: Path,
        cache: LatentCache,
        checkpoint: Path | None,
        first: int,
    ) -> None:
        self.recipe, self.accelerator, self.family, self.model = recipe, accelerator, family, model
        self.checkpoint, self.first = checkpoint, first
        self.batches = training_batches(recipe, cache)
        self.precision = build_precision(recipe, accelerator.device)
        self.validation = Validation(recipe, family, model, cache, accelerator.device)
        self.objective = build_objective(recipe)
        self.timesteps = build_timesteps(recipe, family, model)

        self.transformer = load_network(recipe, family, model, checkpoint, accelerator.device)
        self.network = accelerator.prepare(self.transformer)
        self.optimizer = build_optimizer(recipe, self.transformer)
        self.average = WeightAverage(self.transformer, recipe.ema) if recipe.ema else None
        if checkpoint:
            self._say(f"going on from {checkpoint}")
            load_optimizer(checkpoint, self.optimizer, self.transformer)
            if self.average:
                load_average(checkpoint, self.average)
        if accelerator.is_main_process:
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
        recipe, world = self.recipe, self.accelerator.num_processes
        images_per_step = recipe.batch_size * recipe.gradient_accumulation * world
        if not self.checkpoint:
            self._validate(0)
        progress = StepProgress(
            done=self.first,
            steps=recipe.steps,
            images_per_step=images_per_step,
            enabled=self.accelerator.is_main_process,
        )
        with StopRequest() as stop, progress:
            for done in range(self.first + 1, recipe.steps + 1):
                loss, norm, rate = self._step(done - 1)
                images_per_second = progress.update(done, loss)
                if self.accelerator.is_main_process:
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
                signal = self._agreed(stop.number)
                if done % recipe.checkpoint.every == 0 or last or signal:
                    self._save(done)
                if signal:
                    raise Stopped(
                        f"stopped by signal {signal} after step {done} of {recipe.steps}, saved in "
                        f"{self.checkpoint}: run the same command to go on",
                        signal,
                    )

    def export(self) -> Path:
        """Write the result as a pipeline folder, or as one of adapters."""
        recipe = self.recipe
        path = recipe.output / ("lora" if recipe.lora else "model")
        if self.accelerator.is_main_process:
            losses = Curve.read(recipe.output / "validation.csv")
            card = model_card(
                recipe, self.family.factor, float(losses[-1]["loss"]) if losses else None
            )
            with self._averaged():
                if recipe.lora:
                    made_for = {"family": self.family.name, "base_model": recipe.model}
                    export_adapter(path, self.transformer, card=card, made_for=made_for)
                else:
                    export_pipeline(
                        path,
                        base=self.model,
                        family=self.family,
                        transformer=self.transformer,
                        card=card,
                    )
        self.accelerator.wait_for_everyone()
        return path

    def close(self) -> None:
        """Close the curves."""
        if self.accelerator.is_main_process:
            for log in (self.curve, self.validation_curve, self.board):
                log.close()

    def _step(self, step: int) -> tuple[float, float, float]:
        """One optimizer step; loss, norm of the gradient before clipping, learning rate."""
        recipe, accelerator = self.recipe, self.accelerator
        rate = learning_rate(
            recipe.schedule, base=recipe.optimizer.learning_rate, step=step, steps=recipe.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = recipe.gradient_accumulation
        total = torch.zeros((), device=accelerator.device)
        for micro in range(parts):
            # Gradients travel between processes once a step, with the last micro-batch.
            local = micro < parts - 1
            with accelerator.no_sync(self.network) if local else nullcontext():
                loss = self._loss(step, micro) / parts
                accelerator.backward(loss)
            total += loss.detach()
        loss_value = accelerator.reduce(total, "mean").item()
        norm = accelerator.clip_grad_norm_(
            self.transformer.parameters(), recipe.clip_norm or math.inf
        ).item()
        if not (math.isfinite(loss_value) and math.isfinite(norm)):
            raise Diffusion4kError(
                f"step {step + 1}: loss {loss_value}, gradient norm {norm}; last good checkpoint: "
                f"{self.checkpoint or 'none'}; in a new output, try a lower "
                "optimizer.learning_rate or precision=fp32"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(self.transformer)
        return loss_value, norm, rate

    def _loss(self, step: int, micro: int) -> torch.Tensor:
        accelerator = self.accelerator
        rank, world = accelerator.process_index, accelerator.num_processes
        batch = self.batches.batch(step, micro, rank, world)
        latents, conditioning = batch["latents"], batch["conditioning"]
        noise, sigma = draw_noise(
            self.recipe.seed, batch["places"], latents.shape[1:], self.timesteps
        )
        device = accelerator.device
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
        if self.recipe.validation.every and self.accelerator.is_main_process:
            with self._averaged():
                loss = self.validation.loss(self.transformer)
                images = self.validation.images(self.transformer, done)
            if loss is not None:
                self.validation_curve.add(done, loss)
                self.board.add(done, validation__loss=loss)
            for number, image in enumerate(images, 1):
                self.board.add_image(done, f"validation/{number:02}", image)
        self.accelerator.wait_for_everyone()

    def _save(self, done: int) -> None:
        path = self.recipe.output / "checkpoints"
        if self.accelerator.is_main_process:
            self.curve.sync()
            self.validation_curve.sync()
            save_checkpoint(
                path,
                done,
                transformer=self.transformer,
                optimizer=self.optimizer,
                average=self.average,
                state={
                    "processes": self.accelerator.num_processes,
                    "recipe": self.recipe.model_dump(mode="json"),
                    "versions": versions(),
                },
                keep=self.recipe.checkpoint.keep,
            )
        self.accelerator.wait_for_everyone()
        self.checkpoint = path / f"step-{done:06}"

    def _averaged(self) -> AbstractContextManager[None]:
        return self.average.applied_to(self.transformer) if self.average else nullcontext()

    def _agreed(self, signal: int) -> int:
        # Processes hear of a signal at different times, and all must stop after the same step.
        if self.accelerator.num_processes == 1:
            return signal
        heard = torch.tensor([signal], device=self.accelerator.device)
        return int(self.accelerator.gather(heard).max())

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(text, file=sys.stderr, flush=True)
