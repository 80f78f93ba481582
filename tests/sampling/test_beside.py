"""Work beside the steps, and prompts encoded together: the same images."""

import threading
from pathlib import Path

import pytest
import torch

from diffusion4k.errors import Diffusion4kError
from diffusion4k.sampling import Request, Sampler, generate
from diffusion4k.sampling.beside import Finishing
from diffusion4k.sampling.memory import Placement

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("device", "apart"), [(GPU, True), (CPU, False)])
def test_halves_are_made_apart_where_memory_is_low(device: torch.device, apart: bool) -> None:
    assert Placement("low", device).halves_apart is apart
    assert not Placement("balanced", device).halves_apart


@pytest.mark.parametrize(
    ("level", "device", "beside"),
    [("high", GPU, True), ("balanced", GPU, False), ("low", GPU, False), ("high", CPU, False)],
)
def test_only_where_the_gpu_has_room_for_both(
    level: str, device: torch.device, beside: bool
) -> None:
    assert Placement(level, device).decodes_beside is beside


def test_images_are_the_same(sampler: Sampler, tmp_path: Path) -> None:
    requests = [Request("a cat", seed, width=64, height=64, steps=2) for seed in range(3)]
    plain = generate(requests, sampler, out=tmp_path / "plain", progress=False)
    other = Sampler(sampler.folder)
    other.placement.decodes_beside = True
    beside = generate(requests, other, out=tmp_path / "beside", progress=False)
    for one, two in zip(plain, beside, strict=True):
        assert one.path.name == two.path.name
        assert one.path.read_bytes() == two.path.read_bytes()


def test_work_is_done_in_order_and_its_errors_arrive() -> None:
    done: list[int] = []
    may_go = threading.Event()

    def first() -> None:
        assert may_go.wait(5) and not torch.is_grad_enabled()
        done.append(1)

    def broken() -> None:
        raise Diffusion4kError("disk full")

    with (
        pytest.raises(Diffusion4kError, match="disk full"),
        Finishing(CPU, is_beside=True) as finishing,
    ):
        finishing.finish(first)
        assert not done, "the next image goes on meanwhile"
        may_go.set()
        finishing.finish(broken)
        assert done == [1]
    with Finishing(CPU, is_beside=False) as finishing:
        finishing.finish(lambda: done.append(2))
        assert done == [1, 2]


def test_prompts_are_encoded_together(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Sampler(sampler.folder)
    together.texts_together = 2
    prompts = ["a cat", "a lake at dawn", "a harbour"]
    sizes: list[int] = []
    encode = together.family.encode_text

    def counted(encoders: object, texts: list[str], **how: bool) -> dict[str, torch.Tensor]:
        sizes.append(len(texts))
        return encode(encoders, texts, **how)

    monkeypatch.setattr(together.family, "encode_text", counted)
    together.encode(prompts, ["blurred"])
    sampler.encode(prompts, ["blurred"])
    assert sizes == [2, 2, 2], "three prompts and one negative prompt, always as many"
    for key in [*((prompt, False) for prompt in prompts), ("blurred", True)]:
        for name, expected in sampler._conditioning[key].items():
            found = together._conditioning[key][name]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
