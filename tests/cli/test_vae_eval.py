"""`vae eval`: its numbers beside a plain computation, what it keeps, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.tiny import tiny_sd3
from diffusion4k.data.folder import photo_folder
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.architectures.inception import InceptionV3
from diffusion4k.metrics.architectures.lpips import Lpips
from diffusion4k.reconstruction.evaluate import Autoencoder, SquarePhotograph
from diffusion4k.reconstruction.measure import Judges, Weights
from diffusion4k.reconstruction.report import run
from diffusion4k.vae import load_autoencoder, load_stock_autoencoder
from tests.metrics.random_weights import inception_weights, lpips_weights


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i in range(3):
        small = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        small.resize((160, 120), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("factor", ["", "@8"])
def test_numbers_are_those_of_a_plain_computation(
    model: Path, photographs: Path, tmp_path: Path, factor: str
) -> None:
    result = run(photographs, [f"{model}{factor}"], [96], tmp_path / "out")
    load = load_stock_autoencoder if factor else load_autoencoder
    vae = load(model / "vae").eval()
    psnrs = []
    for name, numbers in result.rows[0].images.items():
        square = Image.open(photographs / name).resize(
            (96, 96), Image.Resampling.LANCZOS, (20, 0, 140, 120)
        )
        original = np.array(square)
        x = torch.from_numpy(original).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.inference_mode():
            back = vae.decode(vae.encode(x).latent_dist.mode()).sample[0]
        image = ((back + 1) * 127.5).clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
        psnrs.append(peak_signal_noise_ratio(original, image))
        assert numbers["psnr"] == pytest.approx(psnrs[-1], abs=0.01)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        similarity = structural_similarity(original, image, channel_axis=2, **options)
        assert numbers["ssim"] == pytest.approx(similarity, abs=1e-3)
        assert numbers["effnet_pd"] > 0
    mean, low, high = result.rows[0].means["psnr"]
    assert mean == pytest.approx(np.mean(psnrs), abs=0.01)
    assert min(psnrs) - 0.01 <= low <= mean <= high <= max(psnrs) + 0.01


def test_results_figure_and_going_on(
    model: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = run(photographs, [str(model), f"{model}@8"], [64, 96], out)
    assert [(r.autoencoder, r.size) for r in first.rows] == [
        (name, size) for size in (64, 96) for name in (str(model), f"{model}@8")
    ]
    saved = json.loads((out / "results.json").read_text())
    assert len(saved["rows"]) == 4
    assert saved["rows"][0]["distances"]["fd_effnet"] > 0
    assert saved["rows"][0]["distances"]["rfid"] is None
    assert Image.open(out / "reconstructions.png").size[0] > 900
    monkeypatch.setattr(Autoencoder, "reconstruct", None)
    monkeypatch.setattr(Judges, "_numbers", None)
    assert run(photographs, [str(model), f"{model}@8"], [64, 96], out) == first


def test_the_bundled_student_has_learned(tmp_path: Path) -> None:
    bundled = photo_folder("pocket")
    shutil.copy(next(bundled.glob("stream.jpg")), tmp_path / "stream.jpg")
    untrained, student = run(tmp_path, ["pocket-f8", "pocket"], [256], tmp_path / "out").rows
    assert student.means["psnr"][0] > untrained.means["psnr"][0] + 1
    assert student.means["effnet_pd"][0] < 0.75 * untrained.means["effnet_pd"][0]


def test_lpips_and_rfid_where_weights_are_given(
    model: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trunk, heads = lpips_weights("alex")
    tensors = {"inception": inception_weights(), "trunk": trunk, "heads": heads}
    files = {name: str(tmp_path / f"{name}.safetensors") for name in tensors}
    for name, weights in tensors.items():
        save_file(weights, files[name])
    given = Weights(files["inception"], files["trunk"], "alex", files["heads"])
    (row,) = run(photographs, [str(model)], [96], tmp_path / "out", weights=given).rows
    assert "rFID" in capsys.readouterr().out

    extractor, distance = InceptionV3(given.inception), Lpips("alex", given.lpips, files["heads"])
    features: dict[str, list[np.ndarray]] = {"real": [], "made": []}
    for name, numbers in row.images.items():
        picture = SquarePhotograph(photographs / name, 96)
        real = picture.pixels()
        made = Autoencoder(str(model)).reconstruct(real)
        features["real"].append(extractor([real])[0])
        features["made"].append(extractor([made])[0])
        a, b = (torch.from_numpy(x).permute(2, 0, 1)[None] / 127.5 - 1 for x in (made, real))
        assert numbers["lpips"] == pytest.approx(distance(a, b).item(), rel=1e-4)
    mean, covariance = zip(
        *((np.mean(f, 0), np.cov(np.array(f, np.float64).T)) for f in features.values()),
        strict=True,
    )
    # All eigenvalues of the product are real and not negative but for rounding.
    eigenvalues = np.linalg.eigvals(covariance[0] @ covariance[1]).real.clip(0)
    fid = np.square(mean[0] - mean[1]).sum() + np.trace(covariance[0] + covariance[1])
    fid -= 2 * np.sqrt(eigenvalues).sum()
    assert row.distances["rfid"] == pytest.approx(fid, rel=1e-3)


def test_without_weights_the_table_says_so(
    model: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(photographs, [str(model)], [64], tmp_path / "out")
    said = " ".join(capsys.readouterr().out.split())
    assert "Not measured, because no weights are given: rFID (--inception), LPIPS (--lpips)" in said
    with pytest.raises(UsageError, match=r"nowhere\.pth: no such file"):
        run(photographs, [str(model)], [64], tmp_path / "out", weights=Weights("nowhere.pth"))


def test_bad_pictures(model: Path, photographs: Path, tmp_path: Path) -> None:
    (photographs / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n12345")
    with pytest.raises(Diffusion4kError, match=r"broken\.png"):
        run(photographs, [str(model)], [64], tmp_path / "out")
    result = run(photographs, [str(model)], [64], tmp_path / "out", skip_bad=True)
    assert len(result.rows[0].images) == 3
    assert "broken.png" in result.bad[0]


def test_small_pictures_are_enlarged_only_if_allowed(photographs: Path) -> None:
    path = photographs / "0.png"
    with pytest.raises(Diffusion4kError, match="--allow-enlarging"):
        SquarePhotograph(path, 256).pixels()
    assert SquarePhotograph(path, 256, allow_enlarging=True).pixels().shape == (256, 256, 3)


@pytest.mark.parametrize(
    ("names", "sizes", "said"),
    [
        (["pocket-f8@9"], [64], "8 or 16"),
        (["pocket"], [100], "96 or 128"),
        (["pocket"], [0], "32"),
        (["pocket"], [-32], "--size -32: too small, the smallest is 32"),
    ],
)
def test_wrong_usage(
    photographs: Path, tmp_path: Path, names: list[str], sizes: list[int], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run(photographs, names, sizes, tmp_path / "out")


def test_unknown_models_and_files_as_output(model: Path, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such model"):
        run(photographs, ["nowhere"], [64], tmp_path / "out")
    with pytest.raises(UsageError, match="is a file"):
        run(photographs, [str(model)], [64], photographs / "0.png")
    shutil.rmtree(photographs)
    with pytest.raises(UsageError, match="no such folder: give a folder of images"):
        run(photographs, [str(model)], [64], tmp_path / "out")
