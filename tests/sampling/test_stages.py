"""Which stages follow from a request and a model, and what is refused."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import unchecked_family_of
from diffusion4k.families.stages import StageOptions
from diffusion4k.models.published import write_configurations
from diffusion4k.sampling import Request, SamplingSettings
from diffusion4k.sampling.request import settle
from diffusion4k.sampling.stages import Stage, doubled


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Configurations of published models, by their hub ids."""
    folders: dict[str, Path] = {}

    def folder_of(hub_id: str) -> Path:
        if hub_id not in folders:
            folders[hub_id] = tmp_path_factory.mktemp("models") / "model"
            write_configurations(hub_id, folders[hub_id])
        return folders[hub_id]

    return folder_of


SD3 = "stabilityai/stable-diffusion-3-medium-diffusers"
FLUX = "black-forest-labs/FLUX.1-dev"


def _settled(folder: Path, factor: int | None = None, **fields: Any) -> SamplingSettings:
    family = unchecked_family_of(folder, factor)
    request = Request("a cat", **fields)
    return settle(request, family, folder, model="m", model_fingerprint="f", dtype="float32")


def _sizes(settings: SamplingSettings) -> list[tuple[int, int]]:
    return [(stage.width, stage.height) for stage in settings.stages or ()]


@pytest.mark.parametrize(
    ("hub_id", "draft", "factor", "window"),
    [
        (SD3, 1024, 8, 64),
        (FLUX, 1024, 8, 64),
        ("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", 1024, 8, 64),
        ("PixArt-alpha/PixArt-Sigma-XL-2-2K-MS", 2048, 8, 128),
        ("Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers", 1024, 32, 32),
        ("Tongyi-MAI/Z-Image-Turbo", 1024, 8, 64),
    ],
)
def test_native_sizes_of_published_models(
    models: Any, hub_id: str, draft: int, factor: int, window: int
) -> None:
    folder = models(hub_id)
    stages = unchecked_family_of(folder).stages(folder)
    assert not stages.is_default and stages.sides == (draft,)
    assert stages.options[0].factor == factor and stages.later.window == window
    assert not _settled(folder, width=4096, height=4096).stages


def test_stages_of_a_request(models: Any) -> None:
    settings = _settled(models(SD3), width=4096, height=2048, stages=(1000, 2048), steps=20)
    assert _sizes(settings) == [(992, 496), (2048, 1024), (4096, 2048)]
    assert settings.stages is not None
    draft, middle, last = settings.stages
    assert draft == Stage(992, 496, steps=20, guidance=7.0, factor=8)
    assert middle == Stage(
        *(2048, 1024, 20, 7.0, 16, 0.4, 64, "shifted", "falling", 1.0),
        wavelet="db2",
        further_levels=0,
    )
    assert last == replace(middle, width=4096, height=2048)
    assert (settings.steps, settings.guidance, settings.factor) == (20, 7.0, 16)
    assert settings.denoising_steps == 20 + 8 + 8


def test_a_factor_that_was_given_is_that_of_all_stages(models: Any) -> None:
    for factor in (8, 16):
        settings = _settled(models(SD3), factor, width=2048, height=2048, draft=1024)
        assert [stage.factor for stage in settings.stages or ()] == [factor, factor]


def test_a_draft_is_doubled(models: Any) -> None:
    settings = _settled(models(FLUX), width=3072, height=4096, draft=1024)
    assert _sizes(settings) == [(768, 1024), (1536, 2048), (3072, 4096)]


@given(st.integers(1, 2000), st.integers(2, 9000))
def test_doubling_reaches_the_side(draft: int, side: int) -> None:
    if side > draft:
        sides = doubled(draft, side)
        assert sides[0] == draft and sides[-1] == side
        ratios = [b / a for a, b in pairwise(sides)]
        assert all(ratio == 2 for ratio in ratios[:-1]) and 1 < ratios[-1] < 2 * 2**0.5 + 1e-9


@pytest.mark.parametrize("asked", [{"draft": 1024}, {"stages": (1024,)}, {"stages": ()}, {}])
def test_an_image_no_larger_than_the_draft_is_direct(models: Any, asked: dict[str, Any]) -> None:
    settings = _settled(models(SD3), width=1024, height=768, **asked)
    assert settings.stages is None and settings.factor == 16


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stages": (1024, 8192)}, "stage 8192: larger than the image, whose longer side is 4096"),
        ({"stages": (1024, 1024)}, "each must be larger than the one before"),
        ({"stages": (2048, 1024)}, "each must be larger than the one before"),
        ({"stages": (0, 1024)}, "each must be larger than the one before"),
        ({"stages": tuple(range(64, 576, 32))}, "16 stages: allowed are 8"),
        ({"draft": 0}, "draft 0: allowed is a number of pixels from 1"),
        ({"draft": 1024, "stages": (1024,)}, "not both"),
        (
            {"draft": 1024, "options": {"strength": 0}},
            "stage strength 0: allowed is a number above",
        ),
        ({"draft": 1024, "options": {"strength": 1.2}}, "stage strength 1.2: allowed"),
        ({"draft": 1024, "options": {"steps": 0}}, "stage steps 0: allowed is a whole number"),
        ({"draft": 1024, "options": {"steps": 1001}}, "steps 1001: allowed is 1 to 1000"),
        ({"draft": 1024, "options": {"window": -1}}, "stage window -1: allowed is a number"),
        ({"draft": 1024, "options": {"window": 193}}, "window 193: too large .* 192 tokens"),
        ({"draft": 1024, "options": {"grid": "x"}}, "stage grid x: allowed are shifted, overlap"),
        ({"draft": 1024, "options": {"low_bands": "x"}}, "stage low bands x: allowed are off, con"),
        ({"draft": 1024, "options": {"low_bands_weight": 2}}, "stage low bands weight 2: allowed"),
        ({"draft": 1024, "options": {"wavelet": "x"}}, "stage wavelet x: allowed are haar"),
        ({"draft": 1024, "options": {"factor": 4}}, "factor 4: sd3 models can do 16 and 8"),
        ({"draft": 1024, "options": {"guidance": -1}}, "stage guidance -1: allowed is"),
        ({"draft": 4096, "options": {"window": 16}}, "is made directly: give --stages or --draft"),
        ({"options": {"window": 16}}, "is made directly: give --stages or --draft"),
        ({"draft": 4000, "width": 8192, "height": 8192}, "width 4000: too large .* 3072x3072"),
        (
            {"draft": 1024, "width": 8192, "height": 8192, "options": {"window": 0}},
            "width 8192: too large .* 6144x6144",
        ),
        ({"draft": 1024, "width": 4100, "height": 4100}, "width 4100: not a multiple of 32"),
        ({"draft": 1024, "init": Path("a.png")}, "takes the draft's place"),
    ],
)
def test_refusals(models: Any, fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    fields = {"width": 4096, "height": 4096, **fields}
    if options := fields.pop("options", None):
        fields["stage_options"] = StageOptions(**options)
    if "init" in fields:
        from PIL import Image

        fields["init"] = tmp_path / "a.png"
        Image.new("RGB", (8, 8)).save(fields["init"])
    with pytest.raises(UsageError, match=message) as caught:
        _settled(models(SD3), **fields)
    assert "\n" not in str(caught.value)


def test_windows_reach_beyond_the_table(models: Any) -> None:
    settings = _settled(models(SD3), width=8192, height=8192, draft=1024)
    assert _sizes(settings)[-1] == (8192, 8192)


def _stating(folder: Path, tmp_path: Path, stages: Any) -> Path:
    model = Path(shutil.copytree(folder, tmp_path / "model"))
    (model / "diffusion4k.json").write_text(json.dumps({"stages": stages}))
    return model


def test_a_folder_s_own_stages_are_its_default(models: Any, tmp_path: Path) -> None:
    model = _stating(
        models(SD3),
        tmp_path,
        [
            {"side": 512, "steps": 30},
            {"side": 1024, "steps": 10, "strength": 0.6, "window": 16, "guidance": 2},
            {"side": 2048, "strength": 0.3, "low_bands": "off", "factor": 8},
        ],
    )
    settings = _settled(model, width=4096, height=4096)
    assert [stage.width for stage in settings.stages or ()] == [512, 1024, 2048, 4096]
    draft, first, second, third = settings.stages or ()
    assert (draft.steps, draft.factor, draft.guidance) == (30, 16, 7.0) and settings.steps == 30
    assert (first.steps, first.strength, first.window, first.guidance) == (10, 0.6, 16, 2.0)
    assert (second.steps, second.strength, second.window, second.factor) == (30, 0.3, 64, 8)
    assert second.low_bands == "off" and second.wavelet is None
    assert third == replace(second, width=4096, height=4096) and settings.factor == 8
    assert [s.width for s in _settled(model, width=1056, height=512).stages or ()] == [512, 1056]
    assert _settled(model, width=512, height=512).stages is None
    assert _settled(model, width=4096, height=4096, stages=()).stages is None
    asked = _settled(model, width=1024, height=1024, steps=5, guidance=3.0)
    assert [(s.steps, s.guidance) for s in asked.stages or ()] == [(5, 3.0), (10, 3.0)]
    changed = StageOptions(steps=4, window=0, low_bands="constant")
    (_, last) = _settled(model, width=1024, height=1024, stage_options=changed).stages or ()
    assert (last.steps, last.window, last.grid, last.low_bands) == (4, None, None, "constant")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({}, "stages: found {}, allowed a list of objects"),
        ([3], r"stages\[0\]: found 3, allowed an object"),
        ([{"side": 0}], r"stages\[0\]: side is 0: allowed is a whole number from 1"),
        ([{"side": True}], "side is True"),
        ([{"side": 512}, {"side": 512}], r"stages\[1\]: side is 512: .* from 513"),
        ([{"side": 512, "step": 3}], r"stages\[0\]: unknown step; known: factor, "),
        ([{"side": 512, "strength": 0.5}], r"stages\[0\]: strength has no effect"),
        ([{"side": 512}, {"side": 1024, "strength": "x"}], r"stages\[1\]: strength x: allowed"),
    ],
)
def test_a_folder_that_cannot_be_meant(
    models: Any, tmp_path: Path, stated: Any, message: str
) -> None:
    model = _stating(models(SD3), tmp_path, stated)
    with pytest.raises(Diffusion4kError, match=message):
        _settled(model, width=1024, height=1024)
