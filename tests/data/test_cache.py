"""What is computed, what is kept, and what a cache looks like after an accident."""

import json
import os
import signal
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from diffusion4k.data.cache import CacheReport, LatentCache, missing
from diffusion4k.data.folder import read_folder
from diffusion4k.data.pixels import to_tensor
from diffusion4k.data.sizes import fitted_size
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.sd3 import StableDiffusion3
from tests.data.fake import Family, make_model, save_picture, write_metadata
from tests.disk import largest_file

Build = Callable[..., CacheReport]


def tensors_of(cache: Path) -> dict[str, bytes]:
    """Every stored tensor by name, as bytes."""
    content = {}
    for path in (cache / "shards").glob("[!.]*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                content[name] = (
                    file.get_tensor(name).reshape(-1).view(torch.uint8).numpy().tobytes()
                )
    return content


def test_what_is_stored_is_what_the_models_give(
    build: Build, photographs: Path, model: Path, tmp_path: Path
) -> None:
    report = build(dtype="float32")
    assert (report.computed, report.reused, report.skipped, report.enlarged) == (4, 0, [], 0)
    cache, family = LatentCache(tmp_path / "cache"), Family()
    autoencoder = family.load_autoencoder(model, dtype=torch.float32)
    assert len(cache) == 4
    assert (cache.resolution, cache.dtype, cache.family, cache.flip) == (
        64,
        "float32",
        "fake",
        True,
    )
    for index, photo in enumerate(read_folder(photographs)):
        sample = cache.sample(index)
        picture = Image.open(photo.path)
        image = to_tensor(picture, fitted_size(*picture.size, 64))
        with torch.no_grad():
            assert torch.equal(sample.latents, family.encode_images(autoencoder, image)[0])
            mirrored = family.encode_images(autoencoder, image.flip(-1))[0]
        assert sample.flipped is not None
        assert torch.equal(sample.flipped, mirrored)
        expected = family.encode_text(autoencoder, [photo.text])
        assert torch.equal(sample.conditioning["prompt_embeds"], expected["prompt_embeds"][0])
        assert torch.equal(sample.conditioning["mask"], expected["mask"][0])
        assert sample.conditioning["mask"].dtype == torch.int64
    empty = family.encode_text(autoencoder, [""])["prompt_embeds"][0]
    assert torch.equal(cache.empty_conditioning["prompt_embeds"], empty)


def test_sizes_keep_the_aspect_on_whole_patches(build: Build, tmp_path: Path) -> None:
    build(dtype="bfloat16")
    cache = LatentCache(tmp_path / "cache")
    assert cache.sample(0).latents.dtype == torch.bfloat16
    # 200x128 -> 96x64, 96x96 -> 64x64, 100x220 -> 64x128, 150x130 -> 64x64 pixels.
    assert [cache.latents_size(i) for i in range(4)] == [(6, 4), (4, 4), (4, 8), (4, 4)]
    for width, height in ((4032, 3024), (6028, 3391), (5312, 2988), (4096, 4096)):
        w, h = fitted_size(width, height, 4096)
        assert (min(w, h), w % 32, h % 32) == (4096, 0, 0)
        assert 0 <= width / height * 4096 - w < 32
        assert fitted_size(height, width, 4096) == (h, w)


def test_resizing_is_lanczos_over_the_centre() -> None:
    image = Image.linear_gradient("L").resize((200, 128)).convert("RGB")
    whole = image.resize((100, 64), Image.Resampling.LANCZOS)
    expected = torch.tensor(np.array(whole.crop((2, 0, 98, 64))))
    actual = (to_tensor(image, fitted_size(*image.size, 64))[0].permute(1, 2, 0) + 1) * 127.5
    assert (actual - expected).abs().max() <= 1


def test_a_second_build_loads_nothing(build: Build, model: Path, photographs: Path) -> None:
    build()
    before = missing(
        read_folder(photographs),
        model=model,
        family=Family(),
        cache=photographs.parent / "cache",
        resolution=64,
        flip=True,
    )
    assert not before
    family = Family()
    report = build(family=family)
    assert (report.computed, report.reused) == (0, 4)
    assert family.calls == family.captions == []


def test_text_encoders_are_gone_before_the_autoencoder_comes(
    build: Build, tiny_model: Path
) -> None:
    class Watched(StableDiffusion3):
        encoders: Callable[[], object] = staticmethod(lambda: None)

        def load_text_encoders(self, model: Path, *, dtype: torch.dtype) -> object:
            encoders = super().load_text_encoders(model, dtype=dtype)
            self.encoders = weakref.ref(encoders.text_encoder)
            return encoders

        def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> torch.nn.Module:
            assert self.encoders() is None
            return super().load_autoencoder(model, dtype=dtype)

    assert build(family=Watched(), model=tiny_model).computed == 4


def test_only_what_changed_is_computed(build: Build, photographs: Path, tmp_path: Path) -> None:
    build()
    old = tensors_of(tmp_path / "cache")

    rows = [{"file_name": f"{n}.png", "text": f"photograph {n}"} for n in range(4)]
    rows[2]["text"] = "a new caption"
    write_metadata(photographs, rows)
    family = Family()
    assert build(family=family).computed == 1
    assert family.captions == ["a new caption"]
    assert "load image" not in family.calls

    save_picture(photographs / "1.png", (96, 96), seed=99)
    family = Family()
    assert build(family=family).computed == 1
    assert (family.captions, family.images) == ([], 2)  # The photograph and its mirror image.

    # New names and times, moved lines, a removed one: nothing to compute.
    (photographs / "0.png").rename(photographs / "renamed.png")
    (photographs / "3.png").unlink()
    os.utime(photographs / "2.png")
    write_metadata(photographs, [rows[2], {"file_name": "renamed.png", "text": "photograph 0"}])
    (photographs / "1.png").unlink()
    family = Family()
    assert build(family=family).computed == 0
    assert family.calls == []
    cache = LatentCache(tmp_path / "cache")
    assert cache.file_names == ["2.png", "renamed.png"]
    new = tensors_of(tmp_path / "cache")
    assert all(old[name] == new[name] for name in old.keys() & new.keys())


def test_the_same_photograph_or_caption_twice_is_computed_once(
    build: Build, photographs: Path
) -> None:
    (photographs / "copy.png").write_bytes((photographs / "0.png").read_bytes())
    rows = [{"file_name": f"{name}.png", "text": "one caption"} for name in (0, 1, 2, 3, "copy")]
    write_metadata(photographs, rows)
    family = Family()
    build(family=family, flip=False)
    assert family.images == 4
    assert family.captions == ["", "one caption"]


def test_each_setting_and_model_part_counts_for_what_it_makes(
    build: Build, model: Path, tmp_path: Path
) -> None:
    build(flip=False)

    def computed(**changes: object) -> tuple[int, int]:
        family = Family()
        build(family=family, **changes)
        return len(family.captions), family.images

    assert computed(flip=True) == (0, 4)
    assert computed(flip=False) == (0, 0)
    assert computed(flip=True) == (0, 0)  # Mirrored photographs were kept.
    assert computed(resolution=96) == (0, 8)
    assert computed(resolution=96, dtype="float32") == (5, 8)
    other = make_model(tmp_path / "other")
    assert computed(resolution=96, dtype="float32", model=other) == (0, 0)
    for part, expected in (("vae", (0, 8)), ("tokenizer", (5, 0)), ("text_encoder", (5, 0))):
        path = other / part / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
        assert computed(resolution=96, dtype="float32", model=other) == expected
    with pytest.raises(Diffusion4kError, match="text encoders of this cache"):
        LatentCache(tmp_path / "cache").require(model=model, family=Family(), resolution=96)
    with pytest.raises(Diffusion4kError, match="resolution of this cache: found 96, expected 64"):
        LatentCache(tmp_path / "cache").require(model=other, family=Family(), resolution=64)
    LatentCache(tmp_path / "cache").require(model=other, family=Family(), resolution=96)
    path = other / "vae" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\1\0\0\0")
    with pytest.raises(Diffusion4kError, match="autoencoder of this cache"):
        LatentCache(tmp_path / "cache").require(model=other, family=Family(), resolution=96)


def test_shards_that_nothing_refers_to_are_removed(build: Build, tmp_path: Path) -> None:
    build(resolution=64)
    build(resolution=96)
    assert len(tensors_of(tmp_path / "cache")) == 2 * 5 + 8


def test_a_broken_photograph_stops_the_build_and_loses_nothing(
    build: Build, photographs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = photographs / "2.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(Diffusion4kError, match=r"2\.png: damaged .*--skip-bad"):
        build()
    with pytest.raises(Diffusion4kError, match="no complete cache"):
        LatentCache(tmp_path / "cache")
    family = Family()
    report = build(family=family, skip_bad=True)
    assert [problem.where for problem in report.skipped] == [str(broken)]
    assert (report.computed, report.reused) == (1, 2)
    assert "2.png" in capsys.readouterr().err
    assert (family.captions, family.images) == ([], 2)
    assert LatentCache(tmp_path / "cache").file_names == ["0.png", "1.png", "3.png"]
    family = Family()
    build(family=family, skip_bad=True)
    assert family.calls == family.captions == []  # What is broken loads no model.


def kill_a_build(build: Build, cache: Path, pictures: int, seconds: float) -> None:
    """Start a build in another process and kill it `seconds` after so many pictures."""
    process = os.fork()
    if process == 0:
        try:
            build(cache=cache, family=Family(seconds=0.03), shard_bytes=1)
        finally:
            os._exit(0)
    shards = cache / "shards"
    while len(list(shards.glob("latents*"))) < pictures or not list(shards.glob("text*")):
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def test_killed_builds_go_on_and_end_with_the_same_bytes(build: Build, tmp_path: Path) -> None:
    build()
    expected = tensors_of(tmp_path / "cache")
    found = set()
    for attempt in range(10):
        killed = tmp_path / f"killed-{attempt}"
        kill_a_build(build, killed, attempt % 5, 0.008 * attempt)
        (killed / "shards" / ".latents.1.part.safetensors").write_bytes(b"unfinished")
        (killed / ".samples-0.1.part.npy").write_bytes(b"unfinished")
        done = sum(name.endswith("latents") for name in tensors_of(killed))
        found.add(done)
        family = Family()
        build(cache=killed, family=family)
        assert family.images == 8 - done
        assert tensors_of(killed) == expected
        assert not list(killed.rglob("*.part.*"))
        for index in range(4):
            ours, whole = (LatentCache(c).sample(index) for c in (killed, tmp_path / "cache"))
            assert ours.file_name == whole.file_name
            assert torch.equal(ours.latents, whole.latents)
    assert len(found) > 2, "the kills came at the same moment"


def test_a_full_disk_leaves_the_cache_readable(
    build: Build, photographs: Path, tmp_path: Path
) -> None:
    photos = read_folder(photographs)
    build(photos=photos[:2])
    before = tensors_of(tmp_path / "cache")
    with (
        largest_file(500),
        pytest.raises(Diffusion4kError, match=r"cannot be written \(File too large\)"),
    ):
        build(photos=photos)
    assert tensors_of(tmp_path / "cache") == before
    assert LatentCache(tmp_path / "cache").file_names == ["0.png", "1.png"]
    assert build(photos=photos).computed == 2


def test_damaged_and_removed_shards(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build()
    expected = tensors_of(tmp_path / "cache")
    (shard,) = (tmp_path / "cache/shards").glob("latents*")

    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    cache = LatentCache(tmp_path / "cache")
    with pytest.raises(Diffusion4kError, match=f"{shard.name}: damaged: delete this file"):
        [cache.sample(index) for index in range(4)]
    del cache

    shard.write_bytes(content[:-100])
    with pytest.raises(Diffusion4kError, match=f"1 of 2 shards .*{shard.name} is damaged"):
        LatentCache(tmp_path / "cache")
    family = Family()
    build(family=family)
    assert (family.captions, family.images) == ([], 8)
    assert "damaged, computed again" in capsys.readouterr().err

    shard.unlink()
    with pytest.raises(Diffusion4kError, match=f"{shard.name} is missing: build the cache again"):
        LatentCache(tmp_path / "cache")
    build()
    assert tensors_of(tmp_path / "cache") == expected


def test_index_of_another_version_or_broken(build: Build, tmp_path: Path) -> None:
    build()
    index = tmp_path / "cache" / "index.json"
    (tmp_path / "cache" / "files.json").write_text("broken, and of no importance")
    for content, reason in (
        ("{", "not valid JSON"),
        ("[]", "cache format None"),
        (json.dumps({"format": 99}), "cache format 99"),
    ):
        index.write_text(content)
        with pytest.raises(Diffusion4kError, match=reason):
            LatentCache(tmp_path / "cache")
        family = Family()
        build(family=family)
        assert family.calls == []
        assert len(LatentCache(tmp_path / "cache")) == 4


def test_requests_that_cannot_be_met(build: Build, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"resolution 100: .* nearest: 96 or 128"):
        build(resolution=100)
    with pytest.raises(UsageError, match="resolution -64: too small, the smallest is 32"):
        build(resolution=-64)
    with pytest.raises(UsageError, match="buckets: found 20 as the longest aspect, allowed 1 to 8"):
        build(longest=20.0)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UsageError, match="dtype int8: allowed are float16"):
        build(dtype="int8")
    for device in ("toaster", "meta:x", "xpu"):
        with pytest.raises(UsageError, match=f"device {device}: cannot be used here"):
            build(device=device)
    (tmp_path / "file").touch()
    with pytest.raises(Diffusion4kError, match="a file, not a folder"):
        build(cache=tmp_path / "file")
    (model / "vae").rename(model / "gone")
    with pytest.raises(Diffusion4kError, match="vae: no such folder"):
        build()


def test_one_build_at_a_time(build: Build) -> None:
    class Nested(Family):
        def encode_text(self, encoders: torch.nn.Module, captions: list[str]) -> dict:
            build()
            return {}

    with pytest.raises(Diffusion4kError, match="another process is building this cache"):
        build(family=Nested())


def test_values_that_do_not_fit_are_refused(build: Build) -> None:
    class Wild(Family):
        value = 1e9

        def encode_images(self, autoencoder: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
            return super().encode_images(autoencoder, images) * 0 + self.value

    with pytest.raises(
        Diffusion4kError, match=r"0\.png: latents too large for float16: .*bfloat16"
    ):
        build(family=Wild())
    build(family=Wild(), dtype="bfloat16")
    Wild.value = float("nan")
    with pytest.raises(Diffusion4kError, match="not finite: the model's weights are damaged"):
        build(family=Wild())


def test_too_little_memory_is_one_line(build: Build) -> None:
    class Hungry(Family):
        def encode_images(self, autoencoder: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
            return torch.empty(1 << 60)

    with pytest.raises(Diffusion4kError, match=r"0\.png at 96x64 pixels: not enough memory"):
        build(family=Hungry())
