"""Images in stages, end to end on the tiny model: same bits, kept stages, records, refusals."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.tiny import tiny_sd3
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.stages import StageOptions
from diffusion4k.lora import add_adapter, write_adapter
from diffusion4k.sampling import Request, Sampler, SamplingSettings, generate, read_metadata
from diffusion4k.sampling import sampler as sampler_module
from diffusion4k.sampling.memory import stream_blocks
from diffusion4k.sampling.stages import Stage
from diffusion4k.support.files import sha256_of
from tests.families.test_flux import tiny_flux

REQUEST = Request(
    "a cat",
    seed=3,
    width=192,
    height=256,
    steps=2,
    guidance=4.0,
    stages=(64, 128),
    stage_options=StageOptions(steps=4, strength=0.5, window=2),
)


@pytest.fixture(scope="module")
def staged(sampler: Sampler) -> SamplingSettings:
    """A draft at F=8 and two stages at F=16, in windows of two tokens."""
    return sampler.settle(REQUEST)


def test_every_part_has_a_share(sampler: Sampler, staged: SamplingSettings) -> None:
    assert [(s.name, s.factor) for s in staged.stages or ()] == [
        ("48x64", 8),
        ("96x128", 16),
        ("192x256", 16),
    ]
    pictures = {"all": sampler.sample(staged).tobytes()}
    for name, changes in {
        "seed": {"seed": 4},
        "guidance": {"guidance": 1.0},
        "grid": {"stage_options": replace(REQUEST.stage_options, grid="overlap")},
        "window": {"stage_options": replace(REQUEST.stage_options, window=0)},
        "low bands": {"stage_options": replace(REQUEST.stage_options, low_bands="off")},
        "constant": {"stage_options": replace(REQUEST.stage_options, low_bands="constant")},
    }.items():
        pictures[name] = sampler.sample(
            sampler.settle(REQUEST.model_copy(update=changes))
        ).tobytes()
    assert len(set(pictures.values())) == len(pictures)


def test_the_draft_is_the_image_of_its_size(sampler: Sampler, tmp_path: Path) -> None:
    generate([REQUEST], sampler, out=tmp_path / "a.png", keep_stages=True, progress=False)
    plain = Sampler(sampler.folder, factor=8)
    expected = plain.sample(
        plain.settle(Request("a cat", seed=3, width=48, height=64, steps=2, guidance=4.0))
    )
    kept = Image.open(tmp_path / "a-stages" / "1-48x64.png")
    assert kept.tobytes() == expected.tobytes()


def test_same_settings_same_bits_and_steps_are_reported(
    sampler: Sampler, staged: SamplingSettings
) -> None:
    steps: list[None] = []
    stages: list[int] = []
    first = sampler.sample(staged, lambda: steps.append(None), stages.append)
    assert len(steps) == staged.denoising_steps == 2 + 2 + 2 and stages == [0, 1, 2]
    assert Sampler(sampler.folder).sample(staged).tobytes() == first.tobytes()


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("finished", [1, 2])
def test_a_stopped_run_continues_with_the_same_bits(
    sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    (whole,) = generate([REQUEST], sampler, out=tmp_path / "whole.png", progress=False)
    out = tmp_path / "stopped.png"
    run: list[int] = []
    sample_strips = Sampler.sample_strips

    def watched(
        self: Sampler, settings: SamplingSettings, on_step: object, on_stage: object, kept: object
    ) -> object:
        def begins(number: int) -> None:
            run.append(number)
            if number == finished and run[0] == 0:
                raise _Stopped

        return sample_strips(self, settings, None, begins, kept)  # type: ignore[arg-type]

    monkeypatch.setattr(Sampler, "sample_strips", watched)
    with pytest.raises(_Stopped):
        generate([REQUEST], sampler, out=out, progress=False)
    hidden = tmp_path / ".stopped.stages"
    assert not out.exists() and len(list(hidden.glob("*.png"))) == finished
    # Another image in its place takes nothing up.
    run.clear()
    with pytest.raises(_Stopped):
        generate([REQUEST.model_copy(update={"seed": 4})], sampler, out=out, progress=False)
    assert run == list(range(finished + 1))
    run.clear()
    with pytest.raises(_Stopped):
        generate([REQUEST], sampler, out=out, progress=False)
    run[:] = [-1]
    generate([REQUEST], sampler, out=out, progress=False)
    assert run == [-1, *range(finished, 3)]
    assert Image.open(out).tobytes() == Image.open(whole.path).tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.png", "whole.png"]


def test_a_damaged_stage_is_made_again(sampler: Sampler, tmp_path: Path) -> None:
    generate([REQUEST], sampler, out=tmp_path / "a.png", keep_stages=True, progress=False)
    expected = sha256_of(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    hidden = (tmp_path / "a-stages").rename(tmp_path / ".a.stages")
    path = hidden / "2-96x128.png"
    content = bytearray(path.read_bytes())
    content[-200:-100] = bytes(100)
    path.write_bytes(content)
    generate([REQUEST], sampler, out=tmp_path / "a.png", progress=False)
    assert sha256_of(tmp_path / "a.png") == expected


def test_the_record_says_every_stage(
    sampler: Sampler, staged: SamplingSettings, tmp_path: Path
) -> None:
    (made,) = generate([REQUEST], sampler, out=tmp_path, keep_stages=True, progress=False)
    stages = read_metadata(made.path)["stages"]
    assert tuple(Stage(**stage) for stage in stages) == staged.stages
    folder = made.path.with_name(f"{made.path.stem}-stages")
    assert sorted(p.name for p in folder.iterdir()) == ["1-48x64.png", "2-96x128.png"]
    assert len(read_metadata(folder / "2-96x128.png")["stages"]) == 2
    (again,) = generate([REQUEST], sampler, out=tmp_path, progress=False)
    assert not again.is_new
    stronger = replace(REQUEST.stage_options, strength=0.75)  # type: ignore[type-var]
    (other,) = generate(
        [REQUEST.model_copy(update={"stage_options": stronger})],
        sampler,
        out=tmp_path,
        progress=False,
    )
    assert other.path != made.path


@pytest.mark.parametrize("option", ["blocks", "low", "fp8", "lora"])
def test_windows_go_with_every_kind_of_weights(
    sampler: Sampler, staged: SamplingSettings, tmp_path: Path, option: str
) -> None:
    """Hooks that stream blocks change nothing; adapters and fewer bits have their effect."""
    options = {"low": {"memory": "low"}, "fp8": {"weights": "fp8"}}.get(option, {})
    if option == "lora":
        transformer = Sampler(sampler.folder).pipeline.transformer
        add_adapter(transformer, rank=2, alpha=4, targets=("to_q", "ff.net.2"), seed=0)
        for name, parameter in transformer.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        write_adapter(tmp_path, transformer, {"family": "sd3", "base_model": "tiny"})
        options = {"lora": tmp_path}
    other = Sampler(sampler.folder, **options)
    if option == "blocks":
        stream_blocks(other.pipeline.transformer, torch.device("cpu"))
    found, plain = other.denoise(staged), sampler.denoise(staged)
    assert found.isfinite().all()
    if option in ("fp8", "lora"):  # Close to it, or plainly another.
        assert not torch.equal(found, plain)
    else:
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-4)


def test_little_memory_holds_between_stages(sampler: Sampler, staged: SamplingSettings) -> None:
    lean = Sampler(sampler.folder, max_memory="400K")
    found, whole = (np.asarray(s.sample(staged), np.int16) for s in (lean, sampler))
    # A value between two stages may be rounded the other way.
    assert np.abs(found - whole).mean() < 1


def test_a_folder_may_state_the_decoder_s_memory(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (model / "diffusion4k.json").write_text('{"max_memory": "400KiB"}')
    assert Sampler(model).placement.max_memory == 400 * 2**10
    assert Sampler(model, max_memory="1MiB").placement.max_memory == 2**20
    (model / "diffusion4k.json").write_text('{"max_memory": [1]}')
    with pytest.raises(Diffusion4kError, match=r"max_memory is \[1\]: allowed is a size"):
        Sampler(model)


def test_nan_and_memory_are_reported_by_stage(
    sampler: Sampler, staged: SamplingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[None] = []

    def exhausted() -> None:
        steps.append(None)
        if len(steps) == 5:
            raise torch.OutOfMemoryError("tried to allocate 40 GiB")

    with pytest.raises(Diffusion4kError, match="out of memory on cpu at 192x256"):
        sampler.sample(staged, on_step=exhausted)
    from diffusion4k.sampling.windows import Windows

    def broken(self: Windows, call: object, cache: object) -> torch.Tensor:
        return torch.full((2, 16, 8, 6), float("nan"))

    monkeypatch.setattr(Windows, "predict", broken)
    with pytest.raises(Diffusion4kError, match="after step 1 of 2 of stage 96x128 in float32"):
        sampler.sample(staged)


def test_a_draft_by_another_model(tiny_model: Path, tmp_path: Path) -> None:
    """The draft is that model's, and only the stages after it are made anew."""
    other = tiny_sd3(tmp_path / "other", seed=1)
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    stages = [{"side": 64, "steps": 2, "guidance": 1.0}, {"side": 128, "steps": 4, "window": 2}]
    pictures = {}
    for name, stated in {
        "own": stages,
        "other": [stages[0] | {"model": str(other)}, stages[1]],
    }.items():
        (model / "diffusion4k.json").write_text(json.dumps({"stages": stated}))
        request = Request("a cat", seed=3, width=128, height=128)
        out = tmp_path / f"{name}.png"
        (made,) = generate([request], model, out=out, keep_stages=True, progress=False)
        pictures[name] = Image.open(tmp_path / f"{name}-stages" / "1-64x64.png").tobytes()
    draft = Sampler(other, factor=8)
    plain = draft.settle(Request("a cat", seed=3, width=64, height=64, steps=2, guidance=1.0))
    assert pictures["other"] != pictures["own"]
    found = made.settings.stages[0]
    assert (found.model, found.model_fingerprint) == (str(other), plain.model_fingerprint)


def test_a_model_is_read_once_for_its_fingerprint(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = str(tiny_sd3(tmp_path / "other", seed=1))
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    stages = [{"side": side, "model": other} for side in (64, 128, 256)]
    (model / "diffusion4k.json").write_text(json.dumps({"stages": stages}))
    read: list[str] = []

    def noting(folder: Path) -> str:
        read.append(str(folder))
        return str(folder)

    monkeypatch.setattr(sampler_module, "fingerprint", noting)
    sampler = Sampler(model)
    for seed in range(2):
        settings = sampler.settle(Request("a cat", seed=seed, width=256, height=256))
        assert settings.model_fingerprint == str(model)
        assert [stage.model_fingerprint for stage in settings.stages] == [other] * 3
    assert sorted(read) == sorted([str(model), other])


def test_a_draft_by_a_model_of_another_family_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    flux = tiny_flux(tmp_path / "flux")
    stages = [{"side": 64, "model": str(flux)}, {"side": 128}]
    (model / "diffusion4k.json").write_text(json.dumps({"stages": stages}))
    with pytest.raises(Diffusion4kError, match="is of the family flux"):
        generate(
            [Request("a cat", width=128, height=128)],
            model,
            out=tmp_path / "a.png",
            progress=False,
        )
