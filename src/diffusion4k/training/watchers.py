"""What a run shows of itself, with one call a step: curves, validation, trackers."""

from PIL import Image

from diffusion4k.training.background import BackgroundImages
from diffusion4k.training.engine.parameters import trained_parameters
from diffusion4k.training.run import TrainingRun
from diffusion4k.training.validation import Validation
from diffusion4k.training.watch.bands import BANDS
from diffusion4k.training.watch.curve import Curve
from diffusion4k.training.watch.throughput import Throughput
from diffusion4k.training.watch.trackers import Tracker, open_trackers

__all__ = ["Watchers"]

Finished = list[tuple[int, list[Image.Image]]]


class Watchers:
    """All who watch a run; only the first process writes."""

    def __init__(
        self,
        run: TrainingRun,
        validation: Validation,
        throughput: Throughput | None,
        *,
        resume_after: int,
    ) -> None:
        """Steps after `resume_after` are forgotten: the run computes them anew."""
        self._run, self._validation, self._throughput = run, validation, throughput
        recipe, wanted = run.recipe, run.recipe.validation
        self._logged, self._wanted = recipe.log.every, wanted
        self._background: BackgroundImages | None = None
        self._curves: dict[str, Curve] = {}
        self._trackers: list[Tracker] = []
        if not run.engine.is_main:
            return
        if wanted.background and wanted.prompts:
            count = len(wanted.prompts)
            self._background = BackgroundImages(recipe.output, count, wanted.device)
        columns = {
            "loss": ("loss", "learning_rate", "gradient_norm"),
            "validation": ("loss",),
            "bands": BANDS,
        }
        for name, names in columns.items():
            path = recipe.output / f"{name}.csv"
            self._curves[name] = Curve(path, names, resume_after=resume_after)
        content = recipe.model_dump(mode="json")
        self._trackers = open_trackers(
            recipe.log, recipe.output, content, resume_after=resume_after
        )

    def after_step(self, done: int, loss: float, norm: float, rate: float) -> None:
        """See what the step came to, the `done`th; all processes call it."""
        run = self._run
        is_logged = done % self._logged == 0
        bands = run.bands.row() if is_logged else {}
        if run.engine.is_main:
            self._curves["loss"].add(done, loss, rate, norm)
            values = {"loss": loss, "learning_rate": rate, "gradient_norm": norm}
            values["skipped_steps"] = run.guard.skipped
            if is_logged:
                self._curves["bands"].add(done, *bands.values())
                assert self._throughput
                values |= bands | self._throughput.row(self._logged)
            self._track(done, {f"train/{name}": value for name, value in values.items()})
            self._show(self._background.poll() if self._background else [])
        every = self._wanted.every
        if every and (done % every == 0 or done == run.recipe.steps):
            self.validate(done)

    def validate(self, done: int) -> None:
        """Loss and images of the averaged weights; all processes call it."""
        run, engine = self._run, self._run.engine
        if self._wanted.every and (engine.is_main or engine.computes_together):
            with run.averaged():
                loss = self._validation.loss(run.transformer)
                images = self._images(done)
            if engine.is_main:
                if loss is not None:
                    self._curves["validation"].add(done, loss)
                    self._track(done, {"validation/loss": loss})
                self._show(images)
        engine.wait()

    def sync(self) -> None:
        """Force the curves to the disk."""
        for curve in self._curves.values():
            curve.sync()

    def finish(self) -> None:
        """Wait for images that are under way."""
        self._show(self._background.finish() if self._background else [])

    def close(self) -> None:
        """Close the curves and trackers, and end what is under way."""
        for curve in self._curves.values():
            curve.close()
        for tracker in self._trackers:
            tracker.close()
        if self._background:
            self._background.close()

    def _images(self, done: int) -> Finished:
        """Step and images that are finished: those of this step, or of an earlier one."""
        run = self._run
        if not self._wanted.prompts:
            return []
        if not self._wanted.background:
            made = self._validation.images(run.transformer, done, keep=run.engine.is_main)
            return [(done, made)]
        weights = run.engine.whole(trained_parameters(run.transformer))
        return self._background.start(done, weights) if self._background else []

    def _show(self, finished: Finished) -> None:
        for step, images in finished:
            for number, image in enumerate(images, 1):
                for tracker in self._trackers:
                    tracker.add_image(step, f"validation/{number:02}", image)

    def _track(self, step: int, values: dict[str, float]) -> None:
        for tracker in self._trackers:
            tracker.add(step, values)
