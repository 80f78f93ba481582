"""DINOv2's features beside transformers' own processor and model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BitImageProcessor, Dinov2Model

from diffusion4k.metrics.dino import DinoV2, DinoV2Measure
from diffusion4k.metrics.picture import MeasuredImage
from tests.metrics.tiny_networks import photo_like, tiny_dino_folder


@pytest.mark.parametrize("size", [(224, 224), (500, 300)])
def test_class_token_of_transformers(tmp_path: Path, size: tuple[int, int]) -> None:
    folder = tiny_dino_folder(tmp_path)
    picture = photo_like(1, *size)
    processor = BitImageProcessor(
        size={"height": 224, "width": 224},
        resample=3,
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    inputs = processor(images=[picture], return_tensors="pt")
    model = Dinov2Model.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = model(**inputs).last_hidden_state[0, 0].numpy()
    network = DinoV2(folder)
    found = network([picture])
    assert found.shape == (1, network.dimension) == (1, 32)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    picture.save(tmp_path / "a.png")
    measure = DinoV2Measure(network)
    np.testing.assert_array_equal(
        measure(MeasuredImage(tmp_path / "a.png")).features["dinov2"], found
    )
    assert network([]).shape == (0, 32)
