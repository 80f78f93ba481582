"""Scale-consistent training: recipe in, F=16 autoencoder out.

    for every step:  for every micro-batch: reconstruct; student's loss, discriminator's loss
                     clip, a step of both optimizers, weight average, curves
                     now and then validation, checkpoint

Whatever is random is a function of (seed, position of a crop), and everything else is in the
checkpoint: a run that was killed and started again ends with the same weights, bit for bit.

Every process holds both networks whole, and gradients are averaged at the end of a step rather than
by DistributedDataParallel, which does not allow what the adaptive weight needs: gradients at one
layer in the middle of a step.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from diffusion4k.data.sequence import Step, Stream, places_of
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.files import atomic_path, write_text
from diffusion4k.support.lock import locked
from diffusion4k.support.progress import Counter
from diffusion4k.support.versions import versions
from diffusion4k.training.autoencoder.checkpoint import Trained
from diffusion4k.training.autoencoder.export import export_autoencoder
from diffusion4k.training.autoencoder.inputs import inputs_of_autoencoder
from diffusion4k.training.autoencoder.prepare import (
    build_perceptual,
    check_wavelet,
    initial_student,
    load_teacher,
    training_crops,
    validation_crops,
)
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe
from diffusion4k.training.autoencoder.step import TERMS, ScaleConsistentLoss
from diffusion4k.training.autoencoder.validation import QUALITIES, AutoencoderValidation
from diffusion4k.training.check import require_space
from diffusion4k.training.checkpoint.checkpoint import Retention
from diffusion4k.training.engine.ema import WeightAverage
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.engine.optimizers import learning_rate, make_optimizer
from diffusion4k.training.engine.randomness import generator_at
from diffusion4k.training.recipe.build import build_precision
from diffusion4k.training.recipe.recipe import GuardRecipe
from diffusion4k.training.signals import StopRequest, TrainingStopped
from diffusion4k.training.start import starting_point
from diffusion4k.training.watch.curve import Curve, RecentMean
from diffusion4k.training.watch.step_guard import Guard
from diffusion4k.training.watch.trackers import TensorBoard
from diffusion4k.vae.discriminator import PatchDiscriminator, SubBandDiscriminator

__all__ = ["train_autoencoder"]

_COLUMNS = (*TERMS, "discriminator", "learning_rate", "gradient_norm")


def train_autoencoder(
    recipe: AutoencoderRecipe, *, skip_bad: bool = False, changed_inputs: bool = False
) -> Path:
    """Run a recipe to its end, from its newest checkpoint if there is one; the student's folder.

    `skip_bad` leaves out photographs that cannot be read or are smaller than the crop.
    `changed_inputs`: continues with other photographs or another teacher than it began with.

    Raises:
        UsageError: a recipe that cannot be run, or that is not the one of the checkpoint, or leads
            to other photographs or weights.
        TrainingStopped: SIGTERM or Ctrl-C came; a checkpoint of the last step is written.
        Diffusion4kError: teacher or photographs unusable, or a loss that is not finite.
    """
    check_wavelet(recipe)
    engine = Engine("ddp")
    with locked(recipe.output) if engine.is_main else nullcontext():
        run = _AutoencoderRun(recipe, engine, skip_bad=skip_bad, changed_inputs=changed_inputs)
        try:
            run.go()
        finally:
            run.close()
        return run.export()


class _AutoencoderRun:
    """The state of a run: what is trained, what judges it, curves."""

    def __init__(
        self,
        recipe: AutoencoderRecipe,
        engine: Engine,
        *,
        skip_bad: bool,
        changed_inputs: bool,
    ) -> None:
        self.recipe, self.engine, self.device = recipe, engine, engine.device
        start = starting_point(
            recipe, engine, lambda: inputs_of_autoencoder(recipe), changed=changed_inputs
        )
        self.checkpoint, self.first = start.checkpoint, start.done
        if engine.is_main:
            self.inputs = start.inputs or inputs_of_autoencoder(recipe)
        self.guard = Guard(GuardRecipe())
        self.precision = build_precision(recipe, self.device)
        self.crops = training_crops(recipe, skip_bad=skip_bad)
        teacher = load_teacher(recipe.model, self.device)
        student = initial_student(recipe, teacher)
        student.requires_grad_(True).train()
        if recipe.freeze_encoder:
            student.encoder.requires_grad_(False)
            if student.quant_conv is not None:
                student.quant_conv.requires_grad_(False)
        if recipe.gradient_checkpointing:
            student.enable_gradient_checkpointing()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_at(recipe.seed, Stream.DISCRIMINATOR).initial_seed())
            kind = (
                PatchDiscriminator if recipe.adversarial.sees == "pixels" else SubBandDiscriminator
            )
            discriminator = kind(recipe.adversarial.channels, recipe.adversarial.layers)
            discriminator.to(self.device)
        perceptual = build_perceptual(recipe)
        self.losses = ScaleConsistentLoss(
            recipe, teacher, perceptual and perceptual.to(self.device), discriminator, engine.mean
        )
        self.trained = Trained(
            student,
            discriminator,
            make_optimizer(recipe.optimizer, student),
            make_optimizer(recipe.optimizer, discriminator),
            WeightAverage(student, recipe.ema) if recipe.ema else None,
        )
        if self.checkpoint:
            self.trained.load(self.checkpoint)
        if engine.is_main:
            self._open_logs(skip_bad)

    def _open_logs(self, skip_bad: bool) -> None:
        recipe, wanted = self.recipe, self.recipe.validation
        if self.checkpoint:
            self.engine.say(f"resuming from {self.checkpoint}")
        require_space(recipe, self.trained.student, self.trained.discriminator)
        self.validation = None
        if wanted.every:
            crops = validation_crops(recipe, skip_bad=skip_bad)
            self.validation = AutoencoderValidation(crops, wanted.samples, self.losses)
        write_text(recipe.output / "recipe.yaml", recipe.as_yaml())
        after = self.first if self.checkpoint else -1
        self.curve = Curve(recipe.output / "loss.csv", _COLUMNS, resume_after=after)
        self.validation_curve = Curve(
            recipe.output / "validation.csv", QUALITIES, resume_after=after
        )
        self.board = TensorBoard(recipe.output / "tensorboard", resume_after=after)

    def go(self) -> None:
        """All steps that are left."""
        recipe, engine = self.recipe, self.engine
        if not self.checkpoint:
            self._validate(0)
        progress = Counter(
            *("steps", recipe.steps),
            done=self.first,
            each=recipe.batch_size * recipe.gradient_accumulation * engine.world,
            unit="images",
            shown=engine.is_main,
        )
        batches = self.crops.read(
            map(self._places, range(self.first, recipe.steps)), recipe.workers
        )
        recent = RecentMean()
        with StopRequest() as stop, progress:
            for done in range(self.first + 1, recipe.steps + 1):
                places, images = self._next(batches, done - 1)
                numbers = self._step(done - 1, places, images)
                progress.advance(recent.add(numbers["loss"]))
                if engine.is_main:
                    self.curve.add(done, *(numbers[name] for name in _COLUMNS))
                    scalars = {f"train/{name}": value for name, value in numbers.items()}
                    self.board.add(done, scalars | {"train/images_per_second": progress.rate})
                last, every = done == recipe.steps, recipe.validation.every
                if every and (done % every == 0 or last):
                    self._validate(done)
                # Processes hear of a signal at different times, and all must stop after the same
                # step.
                signal = engine.highest(stop.number)
                if done % recipe.checkpoint.every == 0 or last or signal:
                    self._save(done)
                    engine.wait()
                if signal:
                    raise TrainingStopped(
                        f"stopped by signal {signal} after step {done} of {recipe.steps}, saved in "
                        f"{self.checkpoint}: run the same command to continue",
                        signal,
                    )

    def export(self) -> Path:
        """Write the student, averaged if the recipe says so."""
        path = self.recipe.output / "vae"
        if self.engine.is_main:
            measured = Curve.read(self.recipe.output / "validation.csv")
            with self._averaged():
                export_autoencoder(
                    path,
                    student=self.trained.student,
                    recipe=self.recipe,
                    quality=measured[-1] if measured else None,
                )
        self.engine.wait()
        return path

    def close(self) -> None:
        """Close the curves."""
        if self.engine.is_main:
            for curve in (self.curve, self.validation_curve):
                curve.close()
            self.board.close()

    def _places(self, step: int) -> Step:
        return places_of(
            step,
            batch_size=self.recipe.batch_size,
            gradient_accumulation=self.recipe.gradient_accumulation,
            rank=self.engine.rank,
            world=self.engine.world,
        )

    def _next(
        self, batches: Iterator[tuple[Step, list[Tensor]]], done: int
    ) -> tuple[Step, list[Tensor]]:
        try:
            return next(batches)
        except Diffusion4kError:
            # A photograph whose pixels turn out to be broken costs none of the finished steps.
            if done > self.first:
                self._save(done)
            raise

    def _step(self, step: int, places: Step, batches: list[Tensor]) -> dict[str, float]:
        """One step of both optimizers; the numbers of `_COLUMNS`."""
        recipe, trained = self.recipe, self.trained
        rate = learning_rate(
            recipe.schedule, base=recipe.optimizer.learning_rate, step=step, steps=recipe.steps
        )
        adversarial = bool(recipe.loss.adversarial) and step >= recipe.adversarial.start
        total = torch.zeros(len(TERMS) + 1, device=self.device)
        for micro, images in zip(places, batches, strict=True):
            images = images.to(self.device)
            with self.precision():
                made, terms = self.losses.student(
                    trained.student, images, self._noise(micro), adversarial=adversarial
                )
            (terms["loss"] / len(batches)).backward()
            judged = torch.zeros((), device=self.device)
            if adversarial:
                with self.precision():
                    judged = self.losses.judge(images, made)
                (judged / len(batches)).backward()
            total += torch.stack([*(terms[name].detach() for name in TERMS), judged.detach()])
        norm = self.engine.clip_mean(trained.student.parameters(), recipe.clip_norm)
        judge_norm = (
            self.engine.clip_mean(trained.discriminator.parameters(), recipe.clip_norm)
            if adversarial
            else 0.0
        )
        values = [*(self.engine.mean(total) / len(batches)).tolist(), rate, norm]
        # A sum is finite only if all of it is.
        if self.guard.judge(values[0], sum((*values[1:], judge_norm))):
            raise Diffusion4kError(
                f"step {step + 1}: loss {values[0]}, gradient norm {norm}, discriminator's "
                f"{judge_norm}; last good checkpoint: {self.checkpoint or 'none'}; in a new "
                "output, try a lower optimizer.learning_rate or precision=fp32"
            )
        self._update(trained.student_optimizer, rate)
        if adversarial:
            own = recipe.adversarial.learning_rate or recipe.optimizer.learning_rate
            self._update(
                trained.discriminator_optimizer, rate * own / recipe.optimizer.learning_rate
            )
        if trained.average:
            trained.average.update(trained.student)
        return dict(zip(_COLUMNS, values, strict=True))

    def _noise(self, places: range) -> Tensor | None:
        """Noise for the latents of each crop, the same whichever process has it."""
        recipe = self.recipe
        if recipe.posterior == "mean":
            return None
        width, height = (side // 16 for side in recipe.crop)
        shape = (self.trained.student.config.latent_channels, height, width)
        noise = [torch.randn(shape, generator=generator_at(recipe.seed, p)) for p in places]
        return torch.stack(noise).to(self.device)

    def _update(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _validate(self, done: int) -> None:
        if self.engine.is_main and self.validation:
            with self._averaged(), self.precision():
                values, picture = self.validation(self.trained.student, self.device)
            self.validation_curve.add(done, *values)
            named = zip(QUALITIES, values, strict=True)
            self.board.add(done, {f"validation/{name}": value for name, value in named})
            self.board.add_image(done, "validation", picture)
            with atomic_path(self.recipe.output / "validation" / f"step-{done:06}.png") as path:
                picture.save(path)
        self.engine.wait()

    def _save(self, done: int) -> None:
        path = self.recipe.output / "checkpoints"
        if self.engine.is_main:
            self.curve.sync()
            self.validation_curve.sync()
            wanted = self.recipe.checkpoint
            self.trained.save(
                path,
                done,
                state={
                    "processes": self.engine.world,
                    "recipe": self.recipe.model_dump(mode="json"),
                    "inputs": self.inputs.state(),
                    "versions": versions(),
                },
                keep=Retention(wanted.keep, wanted.keep_every),
            )
        self.checkpoint = path / f"step-{done:06}"

    def _averaged(self) -> AbstractContextManager[None]:
        average = self.trained.average
        return average.applied_to(self.trained.student) if average else nullcontext()
