"""What a run changes, written in shares and put together again."""

from pathlib import Path

import pytest
import torch

from benchmarks.tiny import tiny_transformer
from diffusion4k.errors import Diffusion4kError
from diffusion4k.training.checkpoint.checkpoint import Retention, latest_checkpoint
from diffusion4k.training.checkpoint.sharded import CheckpointWriter, TrainingState, whole_tensors
from diffusion4k.training.engine.ema import WeightAverage
from diffusion4k.training.engine.engine import Engine


class Trained:
    """A tiny transformer after some steps, always the same."""

    def __init__(self, seed: int = 0, steps: int = 2) -> None:
        torch.manual_seed(seed)
        self.module = tiny_transformer()
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=1e-3)
        self.average = WeightAverage(self.module, 0.9)
        self.state = TrainingState(self.module, self.optimizer, self.average)
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        for parameter in self.module.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.step()
        self.average.update(self.module)


def _save(folder: Path, trained: Trained, step: int = 7) -> Path:
    writer = CheckpointWriter(folder, Engine(), keep=Retention(2))
    writer.save(step, trained.state, {"recipe": {}})
    # What happens to the weights after `save` must not show in the file.
    trained.step()
    writer.finish()
    writer.close()
    return folder / f"step-{step:06}"


def test_everything_comes_back_to_the_bit(tmp_path: Path) -> None:
    expected = {name: value.clone() for name, value in Trained().state.tensors().items()}
    path = _save(tmp_path, Trained())
    fresh = Trained(seed=1, steps=0)
    fresh.state.load(path)
    loaded = fresh.state.tensors()
    assert len(expected) == 5 * len(list(fresh.module.parameters()))  # with the steps' counter
    assert loaded.keys() == expected.keys() == whole_tensors(path).keys()
    for name, value in expected.items():
        assert torch.equal(value, loaded[name]), name
        assert torch.equal(value, whole_tensors(path)[name]), name
    assert fresh.optimizer.param_groups[0]["lr"] == 1e-3
    # And the next step is the same, so that nothing was left out.
    trained = Trained()
    for each in (trained, fresh):
        torch.manual_seed(1)
        each.step()
    for (name, one), other in zip(
        trained.module.named_parameters(), fresh.module.parameters(), strict=True
    ):
        assert torch.equal(one, other), name


def test_no_pickle_in_a_checkpoint(tmp_path: Path) -> None:
    path = _save(tmp_path, Trained())
    assert {file.suffix for file in path.rglob("*") if file.is_file()} == {".safetensors", ".json"}


def test_a_cut_file_is_told(tmp_path: Path) -> None:
    path = _save(tmp_path, Trained())
    (file,) = path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(Diffusion4kError, match=f"^{path}: damaged") as error:
        Trained().state.load(path)
    assert "\n" not in str(error.value)
    with pytest.raises(Diffusion4kError, match="damaged"):
        whole_tensors(path)


def test_a_checkpoint_of_another_network_is_told(tmp_path: Path) -> None:
    path = _save(tmp_path, Trained())
    other = torch.nn.Linear(2, 2)
    state = TrainingState(other, torch.optim.AdamW(other.parameters()))
    with pytest.raises(Diffusion4kError, match="Missing key") as error:
        state.load(path)
    assert "\n" not in str(error.value)


def test_what_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, writer = Trained(), CheckpointWriter(tmp_path, Engine(), keep=Retention(2))
    writer.save(1, trained.state, {})
    writer.finish()

    def full(*_: object, **__: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save", full)
    writer.save(2, trained.state, {})
    with pytest.raises(Diffusion4kError, match=r"No space left on device.*free some space"):
        writer.finish()
    assert latest_checkpoint(tmp_path) == tmp_path / "step-000001"
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    writer.close()
