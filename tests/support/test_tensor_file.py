"""Safetensors files one tensor at a time, against safetensors' own reading and writing."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.support.tensor_file import StoredTensor, TensorFile, write_tensors
from tests.disk import largest_file

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.randn(3, 1, 2, dtype=torch.bfloat16),
    "c": torch.tensor(2.5, dtype=torch.float16),
    "d": torch.empty(0, 4),
    "e": torch.randn(5, 7).to(torch.float8_e4m3fn),
    "f": torch.tensor([1, -2, 3]),
}


def _same(one: Tensor, other: Tensor) -> bool:
    same = one.dtype == other.dtype and one.shape == other.shape
    return same and torch.equal(*(t.flatten().view(torch.uint8) for t in (one, other)))


def test_what_safetensors_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    save_file(TENSORS, path, {"a": "b"})
    file = TensorFile(path)
    assert file.metadata == {"a": "b"}
    assert file.tensors.keys() == TENSORS.keys()
    assert all(_same(file.read(name), value) for name, value in TENSORS.items())


def test_safetensors_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    entries = [(n, StoredTensor(t.dtype, tuple(t.shape))) for n, t in TENSORS.items()]
    write_tensors(path, entries, iter(TENSORS.values()), {"name": "ä"})
    found = load_file(path)
    assert all(_same(found[name], value) for name, value in TENSORS.items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"name": "ä"}


def _written(path: Path, header: object, content: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


def test_what_is_damaged_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    whole = tmp_path / "whole.safetensors"
    save_file(TENSORS, whole)
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    cases = {
        b"": "its header says 0 bytes, the file has 0",
        struct.pack("<Q", 1 << 20) + b"{}": "its header says 1048576 bytes, the file has 10",
        whole.read_bytes()[:-5]: "cut short: . ends at byte",
        _written(path, b"no JSON").read_bytes(): "its header is not understood",
        _written(path, [1]).read_bytes(): "its header is not understood",
        _written(path, {"a": {**entry, "dtype": "X"}}).read_bytes(): "not understood: KeyError",
        _written(path, {"a": {**entry, "shape": [3]}}, b"12345678").read_bytes(): "has 8 bytes",
        _written(path, {"a": {**entry, "shape": [-2]}}, b"12345678").read_bytes(): "has 8 bytes",
    }
    for content, message in cases.items():
        path.write_bytes(content)
        with pytest.raises(Diffusion4kError, match=message) as error:
            TensorFile(path)
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_file_cut_short_later_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    save_file({"a": torch.ones(100)}, path)
    file = TensorFile(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(Diffusion4kError, match="a is cut short"):
        file.read("a")


@pytest.mark.parametrize("protocol", [2, 4, "zip"])
def test_a_pickle_is_refused_with_the_safe_way(tmp_path: Path, protocol: int | str) -> None:
    path = tmp_path / "some.safetensors"
    if protocol == "zip":
        torch.save(TENSORS, path)
    else:
        import pickle

        path.write_bytes(pickle.dumps(list(range(99)), protocol=protocol))
    with pytest.raises(UsageError, match=r"a pickle.*weights_only=True.*safetensors"):
        TensorFile(path)
    other = path.rename(tmp_path / "some.ckpt")
    with pytest.raises(UsageError, match="a pickle"):
        TensorFile(other)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    tensor = torch.ones(1 << 16)
    entries = [("a", StoredTensor(tensor.dtype, tuple(tensor.shape)))]
    with largest_file(1 << 12), pytest.raises(OSError, match=r"some\.safetensors"):
        write_tensors(tmp_path / "some.safetensors", entries, [tensor], {})
    assert not list(tmp_path.iterdir())
