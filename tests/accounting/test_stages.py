"""Stages on shapes against the same work really done by the tiny pipeline."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.measured import allocated_peak, counted_flops
from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.stages import (
    decoding_stage,
    denoising_stage,
    image_encoding_stage,
    text_encoding_stage,
)
from diffusion4k.families import family_of
from diffusion4k.lora import add_adapter
from diffusion4k.objectives import FlowMatching, Objective, WaveletFlow
from diffusion4k.training.recipe.recipe import LoraRecipe
from diffusion4k.training.step import denoising_loss
from diffusion4k.training.step_cost import TrainingSetup, training_stages
from tests.objectives.draws import EVERY_PART

SIDE = 512
F32 = torch.float32


@pytest.fixture(scope="module")
def blueprint(tiny_model: Path) -> Blueprint:
    return Blueprint(tiny_model)


def weights(*modules: nn.Module) -> int:
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    return sum(t.numel() * t.element_size() for t in tensors)


class RealTraining:
    """Two steps of AdamW with torch's own parts, the second of them counted."""

    def __init__(self, model: Path, batch: int, checkpointing: bool, bf16: bool, lora: bool):
        self.family, self.bf16 = family_of(model), bf16
        dtype = torch.bfloat16 if lora and bf16 else F32
        self.transformer: Any = self.family.load_transformer(model, dtype=dtype).train()
        if lora:
            add_adapter(self.transformer, rank=4, alpha=4, targets=self.family.lora_targets, seed=0)
        if checkpointing:
            self.transformer.enable_gradient_checkpointing()
        self.trained = [p for p in self.transformer.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained)
        conditioning = self.family.empty_conditioning(model, batch)
        self.batch = {
            "latents": torch.randn(batch, 16, SIDE // 16, SIDE // 16),
            "noise": torch.randn(batch, 16, SIDE // 16, SIDE // 16),
            "sigma": torch.full((batch,), 0.5),
            "conditioning": {k: torch.randn(v.shape) for k, v in conditioning.items()},
        }
        self.step()

    def step(self) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            loss = denoising_loss(self.family, self.transformer, WaveletFlow(), **self.batch)
        loss.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def held(self) -> int:
        """Bytes that are there before a step: weights and moments."""
        return weights(self.transformer) + 8 * sum(p.numel() for p in self.trained)


@pytest.mark.parametrize(
    ("checkpointing", "bf16", "lora"),
    [
        (False, False, False),
        (True, False, False),
        (False, True, False),
        (True, True, False),
        (False, True, True),
    ],
)
def test_a_training_step(
    tiny_model: Path, blueprint: Blueprint, checkpointing: bool, bf16: bool, lora: bool
) -> None:
    batch = 4
    setup = TrainingSetup(
        SIDE,
        SIDE,
        batch,
        WaveletFlow(),
        gradient_checkpointing=checkpointing,
        bfloat16=bf16,
        lora=LoraRecipe(rank=4, alpha=4) if lora else None,
    )
    step, update = training_stages(blueprint, setup, gpu=False)
    real = RealTraining(tiny_model, batch, checkpointing, bf16, lora)
    assert step.flops == pytest.approx(counted_flops(real.step), rel=1e-3)
    # The batch is there before the step begins, and is no allocation of it.
    inputs = sum(t.numel() * 4 for t in (*real.batch["conditioning"].values(),))
    inputs += sum(real.batch[name].numel() * 4 for name in ("latents", "noise", "sigma"))
    predicted = max(step.peak, update.peak) - real.held() - inputs
    assert predicted == pytest.approx(allocated_peak(real.step), rel=0.1)
    assert step.parts["optimizer"] == 8 * sum(p.numel() for p in real.trained)


def test_every_objective_can_be_planned(blueprint: Blueprint) -> None:
    def step(objective: Objective) -> Any:
        setup = TrainingSetup(SIDE, SIDE, 2, objective, gradient_checkpointing=False)
        return training_stages(blueprint, setup, gpu=False)[0]

    plain = step(FlowMatching())
    for objective in EVERY_PART:
        planned = step(objective)
        assert planned.flops == pytest.approx(plain.flops, rel=0.02)
        assert planned.peak == pytest.approx(plain.peak, rel=0.1)


def test_accumulation_and_average(blueprint: Blueprint) -> None:
    def stages(**options: Any) -> Any:
        setup = TrainingSetup(SIDE, SIDE, 1, WaveletFlow(), gradient_checkpointing=False, **options)
        return training_stages(blueprint, setup, gpu=False)

    plain, accumulated = stages()[0], stages(gradient_accumulation=4)[0]
    assert accumulated.flops == 4 * plain.flops
    # From the second micro-batch on, the gradients of the first stand beside its activations.
    gradients = blueprint_bytes(blueprint)
    assert accumulated.peak - plain.peak == pytest.approx(gradients, rel=0.1)
    averaged = stages(average=True)[0]
    assert averaged.peak - plain.peak == averaged.parts["average"] == gradients


def blueprint_bytes(blueprint: Blueprint) -> int:
    return 4 * sum(p.numel() for p in blueprint.transformer.parameters())


@pytest.mark.parametrize("guided", [False, True])
def test_a_sampling_step(tiny_model: Path, blueprint: Blueprint, guided: bool) -> None:
    family, batch = family_of(tiny_model), 2 if guided else 1
    stage = denoising_stage(blueprint, SIDE, SIDE, F32, guided=guided, gpu=False)
    transformer = family.load_transformer(tiny_model, dtype=F32)
    empty = family.empty_conditioning(tiny_model, batch)
    conditioning = {k: torch.randn(v.shape) for k, v in empty.items()}
    noisy, sigma = torch.randn(batch, 16, SIDE // 16, SIDE // 16), torch.full((batch,), 0.5)

    @torch.no_grad()
    def run() -> None:
        family.velocity(transformer, noisy, sigma, conditioning)

    assert stage.flops == counted_flops(run)
    assert stage.parts["weights"] == weights(transformer)
    # With guidance the latents stand beside the two copies that the network is given.
    inputs = sum(4 * t.numel() for t in (noisy, *conditioning.values()))
    inputs += 4 * noisy[0].numel() if guided else 0
    assert stage.parts["activations"] - inputs == pytest.approx(allocated_peak(run), rel=0.1)


def test_text_encoding(tiny_model: Path, blueprint: Blueprint) -> None:
    family = family_of(tiny_model)
    encoders = family.load_text_encoders(tiny_model, dtype=F32)
    stage = text_encoding_stage(blueprint, F32, gpu=False)
    assert stage.parts["weights"] == weights(encoders.text_encoder, encoders.text_encoder_2)
    real = counted_flops(lambda: family.encode_text(encoders, ["a cat"]))
    assert stage.flops == pytest.approx(real, rel=0.02)


def test_encoding_an_image(tiny_model: Path, blueprint: Blueprint) -> None:
    family = family_of(tiny_model)
    autoencoder = family.load_autoencoder(tiny_model, dtype=F32)
    image = torch.zeros(1, 3, SIDE, SIDE)

    @torch.no_grad()
    def run() -> None:
        family.encode_images(autoencoder, image)

    run()
    stage = image_encoding_stage(blueprint, SIDE, SIDE, gpu=False)
    assert stage.flops == counted_flops(run)
    predicted = stage.peak - weights(autoencoder) - 4 * image.numel()
    assert predicted == pytest.approx(allocated_peak(run), rel=0.1)


@pytest.mark.parametrize("lean", [False, True])
def test_decoding_an_image(tiny_model: Path, blueprint: Blueprint, lean: bool) -> None:
    family = family_of(tiny_model)
    autoencoder = family.load_autoencoder(tiny_model, dtype=F32)
    side = 2 * SIDE
    latents = torch.randn(1, 16, side // 16, side // 16)

    @torch.no_grad()
    def run() -> None:
        if lean:
            for _ in family.decode_strips(autoencoder, latents):
                pass
        else:
            family.decode_latents(autoencoder, latents)

    run()
    stage = decoding_stage(blueprint, side, side, F32, lean=lean, gpu=False)
    assert stage.flops == pytest.approx(counted_flops(run), rel=0.02)
    assert stage.peak - weights(autoencoder) == pytest.approx(allocated_peak(run), rel=0.1)
