"""The bundled photographs, decoded once."""

import numpy as np
import pytest
from PIL import Image

from diffusion4k.curation.duplicates import Fingerprint, fingerprint
from diffusion4k.data.folder import photo_folder
from diffusion4k.data.images import open_rgb


@pytest.fixture(scope="session")
def photographs() -> dict[str, Image.Image]:
    return {path.stem: open_rgb(path) for path in sorted(photo_folder("pocket").glob("*.jpg"))}


@pytest.fixture(scope="session")
def fingerprints(photographs: dict[str, Image.Image]) -> dict[str, Fingerprint]:
    return {name: fingerprint(np.asarray(image)) for name, image in photographs.items()}
