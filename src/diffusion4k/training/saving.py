"""The checkpoints of a run of a transformer: written beside it, and resumed from."""

from contextlib import suppress
from pathlib import Path

from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.versions import versions
from diffusion4k.training.checkpoint.checkpoint import Retention, latest_checkpoint, read_state
from diffusion4k.training.checkpoint.sharded import CheckpointWriter, TrainingState
from diffusion4k.training.inputs import Inputs
from diffusion4k.training.run import TrainingRun

__all__ = ["Saving"]

_FAILED = 1 << 16  # above all signals


class Saving:
    """Saves a run as it stands."""

    def __init__(self, run: TrainingRun, inputs: Inputs | None) -> None:
        """`inputs` are noted in each checkpoint; the first process has them."""
        checkpoint = run.recipe.checkpoint
        self.folder = run.recipe.output / "checkpoints"
        self._run, self._inputs = run, inputs
        self._state = TrainingState(run.transformer, run.optimizer, run.average)
        keep = Retention(checkpoint.keep, checkpoint.keep_every)
        self._writer = CheckpointWriter(self.folder, run.engine, keep=keep)

    def resume(self, checkpoint: Path) -> None:
        """Bring the run to what it was in a checkpoint.

        Raises:
            Diffusion4kError: the checkpoint is damaged.
        """
        self._run.engine.say(f"resuming from {checkpoint}")
        self._state.load(checkpoint, alone=self._run.engine.world == 1)
        about = read_state(checkpoint)
        self._run.guard.load(about["guard"])
        self._run.bands.load(about["bands"])

    def save(self, done: int) -> None:
        """Begin to write the state after `done` steps.

        Raises:
            Diffusion4kError: the one before could not be written.
        """
        run = self._run
        about = {
            "processes": run.engine.data_world,
            "recipe": run.recipe.model_dump(mode="json"),
            "inputs": self._inputs.state() if self._inputs else {},
            "versions": versions(),
            "guard": run.guard.state(),
            "bands": run.bands.state(),
        }
        self._writer.save(done, self._state, about)

    def reason_to_stop(self, signal: int) -> int:
        """The signal that came to this process, or more than any if a checkpoint has failed."""
        return _FAILED if self._writer.has_failed else signal

    def latest(self) -> Path | None:
        """The newest good checkpoint, one under way included."""
        with suppress(Diffusion4kError):
            self._writer.finish()
        return latest_checkpoint(self.folder)

    def finish(self) -> None:
        """Until the last one is complete on the disk.

        Raises:
            Diffusion4kError: it could not be written.
        """
        self._writer.finish()

    def close(self) -> None:
        """Let the writer go."""
        self._writer.close()
