"""The F=16 autoencoder inside diffusers' own pipelines, as saved, reloaded and run by a user."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    StableDiffusion3Pipeline,
)

from benchmarks.tiny import tiny_autoencoder, tiny_clip, tiny_tokenizer, tiny_transformer
from diffusion4k.vae import PartitionedAutoencoderKL
from tests.families.parts import tiny_clip_text, tiny_flux_transformer, tiny_t5

# What a user would write; `import diffusion4k` is all that is not stock.
RELOAD = """
import sys
import diffusion4k
from diffusers import DiffusionPipeline
import numpy, torch
for folder in sys.argv[1:]:
    pipeline = DiffusionPipeline.from_pretrained(folder)
    images = pipeline(
        "a red cat", width=96, height=64, num_inference_steps=2, guidance_scale=3.0,
        max_sequence_length=16, output_type="np", generator=torch.manual_seed(3),
    ).images
    numpy.save(folder + ".npy", images)
"""


def _vae() -> PartitionedAutoencoderKL:
    return PartitionedAutoencoderKL.from_autoencoder(tiny_autoencoder())


def _sd3() -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    clip_tokenizer = tiny_tokenizer()
    t5_tokenizer, t5 = tiny_t5()
    return StableDiffusion3Pipeline(
        transformer=tiny_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(),
        text_encoder=tiny_clip(clip_tokenizer),
        tokenizer=clip_tokenizer,
        text_encoder_2=tiny_clip(clip_tokenizer),
        tokenizer_2=clip_tokenizer,
        text_encoder_3=t5,
        tokenizer_3=t5_tokenizer,
    )


def _flux() -> FluxPipeline:
    torch.manual_seed(0)
    clip_tokenizer = tiny_tokenizer()
    t5_tokenizer, t5 = tiny_t5()
    return FluxPipeline(
        transformer=tiny_flux_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(),
        text_encoder=tiny_clip_text(clip_tokenizer),
        tokenizer=clip_tokenizer,
        text_encoder_2=t5,
        tokenizer_2=t5_tokenizer,
    )


def _image(pipeline: Any) -> np.ndarray:
    return pipeline(
        "a red cat",
        width=96,
        height=64,
        num_inference_steps=2,
        guidance_scale=3.0,
        max_sequence_length=16,
        output_type="np",
        generator=torch.manual_seed(3),
    ).images


def test_stock_pipelines_make_save_and_reload(tmp_path: Path) -> None:
    reloaded = {}
    for pipeline in (_sd3(), _flux()):
        assert pipeline.vae_scale_factor == 16
        image = _image(pipeline)
        assert image.shape == (1, 64, 96, 3)
        assert image.std() > 0.01
        folder = tmp_path / type(pipeline).__name__
        pipeline.save_pretrained(folder)
        index = json.loads((folder / "model_index.json").read_text())
        assert index["vae"] == ["diffusion4k", "PartitionedAutoencoderKL"]
        reloaded[folder] = _image(DiffusionPipeline.from_pretrained(folder))
        # Weights mapped from a file lie at other addresses than those made in memory; torch's
        # matrix products differ by a rounding then. From file to file nothing differs.
        assert np.allclose(reloaded[folder], image, rtol=0, atol=1e-5)
    # The order of floating-point sums also depends on the number of threads.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run([sys.executable, "-c", RELOAD, *reloaded], check=True, env=environment)
    for folder, image in reloaded.items():
        assert np.array_equal(np.load(f"{folder}.npy"), image)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, diffusion4k; "
        "print([m for m in ('torch', 'diffusers', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
