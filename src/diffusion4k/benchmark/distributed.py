"""The processes of a benchmark: one, or as many as `accelerate launch` or torchrun started."""

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["Processes"]


class Processes:
    """This process among all; each makes its share of the images, the first one measures."""

    def __init__(self) -> None:
        from accelerate import Accelerator, InitProcessGroupKwargs

        # A process with faster pictures waits for the others, for as long as it takes.
        patience = InitProcessGroupKwargs(timeout=timedelta(days=30))
        self._accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[patience])
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.world: int = self._accelerator.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this process measures, writes and speaks."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """This process's part of a list that all processes have."""
        return slice(self.rank, None, self.world)

    def gather(self) -> None:
        """Wait for all processes and end their communication: the first continues alone."""
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()
