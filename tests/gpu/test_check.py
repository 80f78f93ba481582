"""The GPU check where there is none: the same parts, at tiny size."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.gpu import check as check_module
from benchmarks.gpu import equality, sampling
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.check import Check, Outcome, run_part
from benchmarks.gpu.models import RandomModel, drawn
from benchmarks.gpu.parts import PARTS, Part, part_named
from benchmarks.gpu.report import table
from benchmarks.gpu.setting import Setting
from diffusion4k.errors import UsageError
from diffusion4k.families import families

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
NEEDS = {"int8": "torchao", "nf4": "bitsandbytes", "adamw8bit": "bitsandbytes"}


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(tmp_path, tiny=True, device="cpu")


def _with(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    part = Part("one", "nowhere.nothing")
    monkeypatch.setattr(Part, "run", lambda _, setting: run(setting))
    monkeypatch.setattr(check_module, "part_named", lambda _: part)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (UsageError("weights nf4: no bitsandbytes"), "refused", "weights nf4: no bitsandbytes"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of memory", "CUDA out of memory."),
        (KeyError("x"), "failed", "KeyError: 'x'"),
    ],
)
def test_what_fails_is_recorded_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, check: Check, error: Exception, status: str, reason: str
) -> None:
    def run(_: Setting) -> None:
        raise error

    _with(monkeypatch, run)
    outcome = run_part(check, "one")
    written = json.loads(check.file("parts", "one").read_text())
    assert (outcome.status, outcome.reason) == (status, reason)
    assert (written["status"], written["reason"]) == (status, reason)


def test_memory_that_ran_out_behind_a_line_of_ours(
    monkeypatch: pytest.MonkeyPatch, check: Check
) -> None:
    from diffusion4k.support.devices import enough_memory

    def run(_: Setting) -> None:
        with enough_memory("ask for a smaller size"):
            raise torch.OutOfMemoryError

    _with(monkeypatch, run)
    assert run_part(check, "one").status == "out of memory"


def test_every_family_is_compared_and_every_part_has_a_name_of_its_own(tmp_path: Path) -> None:
    assert len({part.name for part in PARTS}) == len(PARTS)
    compared = {
        RandomModel(part.keys["name"], Setting(tmp_path, tiny=True)).family.name
        for part in PARTS
        if part.does == "equality.images"
    }
    assert compared == {family.name for family in families().values()}


def test_an_image_and_its_plan(tmp_path: Path) -> None:
    part = part_named("image flux fp8")
    setting = Setting(tmp_path / "run", tiny=True, device_name="cpu")
    found = part.run(setting)
    assert found["step_seconds"] > 0 and found["decoding_seconds"] > 0
    planned = part.plan(Setting(tmp_path / "plan", tiny=True, device_name="cpu"))
    assert planned["peak_gib"] == max(planned["denoising_peak_gib"], planned["decoding_peak_gib"])


def test_random_weights_are_those_of_the_kind(tmp_path: Path) -> None:
    setting = Setting(tmp_path, tiny=True, device_name="cpu")
    with RandomModel("sd3-medium", setting) as model:
        transformer = model.transformer(torch.bfloat16, "fp8")
        kinds = {p.dtype for p in transformer.parameters()}
        assert kinds == {torch.bfloat16, torch.float8_e4m3fn}
        assert not any(p.is_meta for p in transformer.parameters())
        latents = torch.randn(1, 16, 4, 4, dtype=torch.bfloat16)
        conditioning = model.conditioning(1, torch.bfloat16)
        sigma = torch.ones(1, dtype=torch.bfloat16)
        velocity = model.family.velocity(transformer, latents, sigma, conditioning)
    assert velocity.isfinite().all() and velocity.std() > 0.01


def test_random_weights_with_a_seed_are_the_same_everywhere() -> None:
    with torch.device("meta"):
        one, two = (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in "12")
    for network in (one, two):
        torch.manual_seed(0)
        drawn(network, CPU)
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    assert one[0].weight.std() > 0.1 and one[1].weight.mean() > 0.5


def test_a_difference_that_arithmetic_does_not_explain_is_seen(
    monkeypatch: pytest.MonkeyPatch, check: Check
) -> None:
    """As a device would have it that computes in ten bits where it should in 24."""
    decode, made = equality._image, []

    def image(sampler: Any) -> Any:
        latents, picture = decode(sampler)
        made.append(sampler)
        return latents * (1 + 2**-11 * (len(made) == 2)), picture

    monkeypatch.setattr(equality, "_image", image)
    outcome = run_part(check, "equal sana-1600m-4k")
    assert outcome.status == "failed"
    assert "relative error 0.00049, allowed 3.8e-06" in outcome.reason


def test_a_table_has_measured_planned_and_published() -> None:
    part = {
        "status": "ok",
        "found": {"step_seconds": 1.25, "peak_gib": 16.5},
        "planned": {"step_seconds": 1.0, "peak_gib": 15.0},
        "published": {"step_seconds": 1.16, "peak_gb": 31.3},
    }
    *_, row = table({"parts": {"image sd3 high": part}}).splitlines()
    assert row == "| image sd3 high | ok | 1.25 | 1 | 1.16 | 16.5 | 15 | 31.3 GB |"


def test_options_that_there_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "no such part" in capsys.readouterr().err
    assert main(["--list", "--quick"]) == 0
    quick = capsys.readouterr().out.splitlines()
    assert "image sd3 high" in quick and "image flux low" not in quick


def test_what_is_left_when_the_time_is_over_is_not_run(check: Check) -> None:
    outcome = Check(check.out, tiny=True, budget=10)._run(None, "image sd3 high", left=-1)
    assert outcome == Outcome("not run", "the 10 s that there were are over")


def test_windows_see_a_part_of_the_image_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []
    denoised = sampling._denoised

    def noting(sampler: Any, *args: Any, **keys: Any) -> Any:
        sampler.pipeline.transformer.register_forward_pre_hook(
            lambda _, __, arguments: seen.append(tuple(arguments["hidden_states"].shape[-2:])),
            with_kwargs=True,
        )
        return denoised(sampler, *args, **keys)

    monkeypatch.setattr(sampling, "_denoised", noting)
    part_named("windows sd3").run(Setting(tmp_path, tiny=True, device_name="cpu"))
    assert seen and set(seen) == {(2, 2)}  # of 4x4 latents


@pytest.mark.slow
def test_all_parts_are_green_or_refused_by_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--device", "cpu"]
    run = subprocess.run([*command, "--out", tmp_path], cwd=ROOT, capture_output=True, text=True)
    result = json.loads((tmp_path / "gpu_check.json").read_text())
    refused = {
        part.name
        for part in PARTS
        for word, package in NEEDS.items()
        if word in part.name and (word == "nf4" or importlib.util.find_spec(package) is None)
    }
    statuses = {name: part["status"] for name, part in result["parts"].items()}
    expected = {p.name: "refused" if p.name in refused else "ok" for p in PARTS}
    assert statuses == expected, run.stdout
    assert run.returncode == 0
    planned = {name for name, part in result["parts"].items() if part["planned"]}
    assert planned == {part.name for part in PARTS if part.planned}
    assert not any("error" in (part["planned"] or {}) for part in result["parts"].values())
    used = sum(part["cpu_seconds"] for part in result["parts"].values())
    print(f"{used:.0f} s of the CPU in parts")


@pytest.mark.slow
def test_a_kill_loses_nothing_and_the_rest_can_follow(tmp_path: Path) -> None:
    names = ["equal sana-1600m-4k", "image sd3 high", "train pocket"]
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--device", "cpu", "--resume"]
    command += [word for name in names for word in ("--only", name)] + ["--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    result = tmp_path / "gpu_check.json"
    while not result.exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = json.loads(result.read_text())["parts"]
    assert first[names[0]]["status"] == "ok"
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    parts = json.loads(result.read_text())["parts"]
    assert list(parts) == names and all(part["status"] == "ok" for part in parts.values())
    assert parts[names[0]]["seconds"] == first[names[0]]["seconds"]  # not done again
