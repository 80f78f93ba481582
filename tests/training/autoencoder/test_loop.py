"""The run as a whole: right numbers, nothing lost, a result that loads anywhere."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file

import diffusion4k
from benchmarks.tiny import tiny_autoencoder
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.training.autoencoder.loop import train_autoencoder
from diffusion4k.training.autoencoder.prepare import training_crops
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe, load_autoencoder_recipe
from diffusion4k.training.engine.randomness import generator_at
from diffusion4k.training.watch.curve import Curve
from diffusion4k.vae import PartitionedAutoencoderKL, load_autoencoder
from diffusion4k.vae.discriminator import PatchDiscriminator, SubBandDiscriminator
from tests.training.autoencoder.reference import after_one_step, saved_weights

Make = Callable[..., AutoencoderRecipe]


def _rows(path: Path) -> list[dict[str, float]]:
    return [{key: float(value) for key, value in row.items()} for row in Curve.read(path)]


def _first_discriminator(recipe: AutoencoderRecipe) -> PatchDiscriminator:
    with torch.random.fork_rng():
        torch.manual_seed(generator_at(recipe.seed, 1).initial_seed())
        return PatchDiscriminator(recipe.adversarial.channels, recipe.adversarial.layers)


def test_a_discriminator_of_sub_bands_learns_at_its_own_rate(recipe: Make) -> None:
    keys = {"sees": "sub-bands", "channels": 4, "layers": 1, "gradient_penalty": 1e-4}
    found = []
    for factor in (1, 2):
        rate = factor * 1e-4
        wanted = recipe(
            steps=1,
            output=recipe().output.with_name(f"run{factor}"),
            adversarial=keys | {"learning_rate": rate},
            optimizer={"learning_rate": 1e-4, "weight_decay": 0.0},
        )
        path = (
            train_autoencoder(wanted).parent / "checkpoints/step-000001/discriminator.safetensors"
        )
        found.append(load_file(path))
    with torch.random.fork_rng():
        torch.manual_seed(generator_at(recipe().seed, 1).initial_seed())
        first = SubBandDiscriminator(4, 1).state_dict()
    once, twice = ({n: s[n] - first[n] for n in first} for s in found)
    for name, moved in once.items():  # Adam's first step is as long as the rate.
        if name.endswith("weight"):
            assert moved.abs().max() > 0.9e-4
        torch.testing.assert_close(twice[name], 2 * moved, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("start", ["average", "stride"])
def test_a_step_is_that_of_plain_pytorch(recipe: Make, start: str) -> None:
    wanted = recipe(
        steps=1,
        posterior="mean",
        start=start,
        adversarial={"start": 0, "channels": 4, "layers": 2},
        loss={"wavelet": 0.3},
    )
    found = train_autoencoder(wanted)
    crops = training_crops(wanted, skip_bad=False)
    images = torch.stack([crops.sample(place) for place in range(2)])
    discriminator = _first_discriminator(wanted)
    expected, losses = after_one_step(wanted, images, discriminator)
    (row,) = _rows(found.parent / "loss.csv")
    assert {name: row[name] for name in losses} == pytest.approx(losses, rel=1e-4)
    weights = saved_weights(str(found))
    assert weights.keys() == expected.keys()
    # Adam's first step is the gradient's sign: where a gradient is rounding noise, so is the sign.
    wrong = sum(((weights[name] - e).abs() > 1e-6).sum().item() for name, e in expected.items())
    assert wrong <= 1e-2 * sum(e.numel() for e in expected.values())
    judge = load_file(found.parent / "checkpoints/step-000001/discriminator.safetensors")
    for name, value in discriminator.state_dict().items():
        close = (judge[name] - value).abs() <= 1e-5
        assert close.float().mean() > 0.98, name


def test_the_discriminator_sets_in_late(recipe: Make) -> None:
    output = train_autoencoder(recipe(steps=3)).parent
    rows = _rows(output / "loss.csv")
    assert [row["discriminator"] > 0 for row in rows] == [False, False, True]
    assert [row["weight"] > 0 for row in rows] == [False, False, True]
    before = load_file(output / "checkpoints/step-000002/discriminator.safetensors")
    assert all(
        torch.equal(value, before[name])
        for name, value in _first_discriminator(recipe()).state_dict().items()
    )


def test_accumulated_gradients_are_those_of_a_larger_batch(recipe: Make, tmp_path: Path) -> None:
    keys = {"steps": 1, "loss": {"adversarial": 0}}
    large = train_autoencoder(recipe(**keys, batch_size=4, output=str(tmp_path / "large")))
    small = train_autoencoder(recipe(**keys, batch_size=2, gradient_accumulation=2))
    one, other = saved_weights(str(large)), saved_weights(str(small))
    wrong = sum(((value - other[name]).abs() > 1e-6).sum().item() for name, value in one.items())
    assert wrong <= 1e-2 * sum(value.numel() for value in one.values())
    (first,), (second,) = (_rows(path.parent / "loss.csv") for path in (large, small))
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)


def test_training_lowers_what_it_minimises(recipe: Make) -> None:
    wanted = recipe(
        steps=30,
        batch_size=4,
        loss={"adversarial": 0},
        optimizer={"learning_rate": 3e-3},
        validation={"every": 30, "samples": 4},
    )
    start, end = _rows(train_autoencoder(wanted).parent / "validation.csv")
    assert end["psnr"] > start["psnr"] + 1
    assert end["perceptual"] < start["perceptual"]
    picture = Image.open(wanted.output / "validation/step-000030.png")
    assert picture.size == (4 * 32, 2 * 32)


def test_the_result(recipe: Make) -> None:
    found = train_autoencoder(recipe(ema=0.5, validation={"every": 6, "samples": 1}))
    student = load_autoencoder(found)
    assert type(student) is diffusion4k.ScaleConsistentAutoencoderKL
    average = load_file(found.parent / "checkpoints/step-000006/ema.safetensors")
    assert all(torch.equal(value, average[name]) for name, value in student.state_dict().items())
    own = saved_weights(str(found.parent / "checkpoints/step-000006/student"))
    assert any(not torch.equal(value, average[name]) for name, value in own.items())
    teacher = PartitionedAutoencoderKL.from_autoencoder(tiny_autoencoder())
    assert student.config.scaling_factor == teacher.config.scaling_factor
    card = (found / "README.md").read_text()
    assert "scale_consistency" in card and "psnr" in card and "torch" in card
    assert load_autoencoder_recipe(found.parent / "recipe.yaml").steps == 6


def test_an_earlier_student_is_trained_on(recipe: Make, tmp_path: Path) -> None:
    first = train_autoencoder(recipe(steps=2))
    wanted = recipe(
        steps=1, start=str(first), output=str(tmp_path / "on"), optimizer={"learning_rate": 1e-9}
    )
    before, after = saved_weights(str(first)), saved_weights(str(train_autoencoder(wanted)))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-7)


def test_only_a_fitting_student_is_trained_on(recipe: Make, tmp_path: Path) -> None:
    partitioned = tmp_path / "partitioned"
    PartitionedAutoencoderKL.from_autoencoder(tiny_autoencoder()).save_pretrained(partitioned)
    with pytest.raises(Diffusion4kError, match="found 'middle', allowed average, stride, or"):
        train_autoencoder(recipe(start="middle"))
    with pytest.raises(Diffusion4kError, match="a PartitionedAutoencoderKL; training it"):
        train_autoencoder(recipe(start=str(partitioned)))
    with pytest.raises(Diffusion4kError, match="not of the shape"):
        train_autoencoder(recipe(start="pocket"))


def test_a_frozen_encoder_keeps_its_latents(recipe: Make) -> None:
    wanted = recipe(freeze_encoder=True, start="stride", ema=0.5)
    student = load_autoencoder(train_autoencoder(wanted))
    teacher = load_autoencoder(Path(wanted.model) / "vae")
    images = training_crops(wanted, skip_bad=False).sample(0)[None]
    with torch.no_grad():
        expected = teacher.encode(images).latent_dist.mean
        torch.testing.assert_close(student.encode(images).latent_dist.mean, expected)
        assert not torch.allclose(student.decode(expected).sample, teacher.decode(expected).sample)


def test_a_partitioned_teacher_is_taken_back(
    recipe: Make, tmp_path: Path, tiny_model: Path
) -> None:
    load_autoencoder(tiny_model / "vae").save_pretrained(tmp_path / "partitioned")
    stock = train_autoencoder(recipe(steps=1))
    other = train_autoencoder(
        recipe(steps=1, model=str(tmp_path / "partitioned"), output=str(tmp_path / "other"))
    )
    one, two = saved_weights(str(stock)), saved_weights(str(other))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_half_precision_computes_the_same_roughly(recipe: Make, tmp_path: Path) -> None:
    keys = {"steps": 1, "adversarial": {"start": 0, "channels": 4, "layers": 2}}
    rows = []
    for precision in ("fp32", "bf16"):
        wanted = recipe(**keys, precision=precision, output=str(tmp_path / precision))
        found = train_autoencoder(wanted)
        assert all(value.dtype == torch.float32 for value in saved_weights(str(found)).values())
        rows += _rows(found.parent / "loss.csv")
    assert rows[0]["mse"] != rows[1]["mse"]
    for name in ("loss", "mse", "perceptual", "scale_consistency", "discriminator"):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=0.05)


def test_a_changed_recipe_does_not_go_on(recipe: Make) -> None:
    train_autoencoder(recipe(steps=2))
    with pytest.raises(UsageError, match=r"loss.wavelet \(0.1 -> 0.2\)"):
        train_autoencoder(recipe(loss={"wavelet": 0.2}))


def test_a_loss_that_is_not_finite_ends_the_run(recipe: Make) -> None:
    with pytest.raises(Diffusion4kError, match="last good checkpoint: none"):
        train_autoencoder(recipe(loss={"mse": 1e38}, clip_norm=None))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model": "absent"}, "absent: no such model"),
        ({"data": "absent"}, "absent: no such folder"),
        ({"wavelet": "nonsense"}, "wavelet: .*nonsense"),
        ({"crop": 96}, r"\.png: \d+x\d+ pixels, less than the crop 96x96"),
    ],
)
def test_what_is_refused_before_the_start(
    recipe: Make, keys: dict[str, object], problem: str
) -> None:
    with pytest.raises(Diffusion4kError, match=problem) as error:
        train_autoencoder(recipe(**keys))
    assert "\n" not in str(error.value)


def test_a_teacher_of_another_depth(recipe: Make, tmp_path: Path) -> None:
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
    ).save_pretrained(tmp_path / "teacher")
    with pytest.raises(Diffusion4kError, match="3 levels; a teacher has four"):
        train_autoencoder(recipe(model=str(tmp_path / "teacher")))


@pytest.mark.parametrize("name", ["AutoencoderDC", "ScaleConsistentAutoencoderKL"])
def test_a_teacher_of_another_class(recipe: Make, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "teacher"
    tiny_autoencoder().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_class_name": name}))
    with pytest.raises(
        Diffusion4kError, match=f"{name} does not hold an F=8 autoencoder; supported: Auto"
    ):
        train_autoencoder(recipe(model=str(folder)))
