"""`diffusion4k cache` as a user runs it."""

from pathlib import Path

import torch
import typer
from typer.testing import CliRunner, Result

from diffusion4k.cli import cache as cache_verb
from diffusion4k.data.cache import LatentCache
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import family_of
from tests.data.fake import make_folder

app = typer.Typer()
app.callback()(lambda: None)
cache_verb.register(app)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_cache_with_a_real_family(tiny_model: Path, tmp_path: Path) -> None:
    folder, out = make_folder(tmp_path / "photographs", [(96, 64), (64, 64)]), tmp_path / "cache"
    command = ("cache", folder, "--model", tiny_model, "--out", out, "--resolution", 64, "--flip")
    result = run(*command)
    assert "2 photographs computed, 0 reused, 0 skipped" in result.stdout
    cache, family = LatentCache(out), family_of(tiny_model)
    assert cache.flip
    encoders = family.load_text_encoders(tiny_model, dtype=torch.float32)
    for index, caption in enumerate(("photograph 0", "photograph 1")):
        expected = family.encode_text(encoders, [caption])
        stored = cache.conditioning(index)
        assert stored.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(stored[name].float(), tensor[0], rtol=1e-3, atol=1e-3)
    assert cache.latents(0).shape == (16, 4, 6)

    (folder / "1.png").write_bytes(b"")
    error = run(*command).exception
    assert isinstance(error, Diffusion4kError)
    assert "1.png: empty file" in str(error)
    result = run(*command, "--skip-bad")
    assert "0 photographs computed, 1 reused, 1 skipped" in result.stdout
    assert "1.png: empty file" in result.stderr


def test_small_photographs_are_enlarged_and_counted(tiny_model: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "photographs", [(96, 64), (200, 100)])
    result = run(
        "cache", folder, "--model", tiny_model, "--out", tmp_path / "cache", "--resolution", 96
    )
    assert "1 photograph below 96 pixels" in result.stderr
