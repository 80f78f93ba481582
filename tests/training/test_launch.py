"""The files for launchers: Accelerate takes them, and a launched run is the run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from diffusion4k.training.recipe.recipe import Recipe, load_recipe
from diffusion4k.training.watch.curve import Curve

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "recipes/accelerate").glob("*.yaml"))
RECIPES = sorted((ROOT / "recipes").glob("*-wlf.yaml"))
Make = Callable[..., Recipe]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_knows_every_key(path: Path) -> None:
    config = load_config_from_file(str(path))
    assert config.num_processes == yaml.safe_load(path.read_text())["num_processes"]
    assert config.mixed_precision == "no"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_for_the_processes_they_name(path: Path) -> None:
    recipe = load_recipe(path)
    for count in (1, 2, 8):
        wanted = recipe.for_processes(count)
        if recipe.global_batch_size:
            pictures = wanted.batch_size * wanted.gradient_accumulation * count
            assert pictures == recipe.global_batch_size


def test_cluster_files_have_their_form() -> None:
    folder = ROOT / "recipes/cluster"
    subprocess.run(["bash", "-n", str(folder / "slurm.sh")], check=True)
    job = yaml.safe_load((folder / "kubernetes.yaml").read_text())
    container = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    assert (job["kind"], container["name"]) == ("PyTorchJob", "pytorch")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    pod = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    task = yaml.safe_load((folder / "skypilot.yaml").read_text())
    assert Path(ROOT / task["envs"]["RECIPE"]).is_file()
    subprocess.run(["bash", "-n", "-c", task["run"]], check=True)


# Stand-ins for Slurm, which no test machine has: `srun` starts the tasks of one node and leaves
# with the highest of their exit codes, as Slurm's does; `scontrol` writes down what it is asked.
SRUN = """#!/bin/bash
shift
for ((task = 0; task < SLURM_NTASKS; task++)); do
  SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
  echo $! >> "$TASKS"
done
highest=0
for pid in $(cat "$TASKS"); do
  wait "$pid"; code=$?
  [ "$code" -gt "$highest" ] && highest=$code
done
exit "$highest"
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo 127.0.0.1; else echo "$*" >> "$QUEUE"; fi
"""


def _until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_job_that_slurm_stops_is_queued_again_and_goes_on(recipe: Make, tmp_path: Path) -> None:
    wanted = recipe(steps=2000, batch_size=1, checkpoint={"every": 1000})
    path = tmp_path / "recipe.yaml"
    path.write_text(wanted.as_yaml())
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    tasks, queue = tmp_path / "tasks", tmp_path / "queue"
    places = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(places),
        "TASKS": str(tasks),
        "QUEUE": str(queue),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node1",
        "SLURM_NTASKS": "2",
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    command = ["bash", str(ROOT / "recipes/cluster/slurm.sh"), str(path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as job:
        _until(lambda: len(Curve.read(wanted.output / "loss.csv")) > 2 or job.poll() is not None)
        for pid in map(int, tasks.read_text().split()):
            os.kill(pid, signal.SIGTERM)
        told = job.communicate()[1]
    assert job.returncode == 143, told
    assert queue.read_text() == f"requeue {os.getpid()}\n"
    done = len(Curve.read(wanted.output / "loss.csv"))
    assert f"stopped by signal 15 after step {done} of 2000, saved in" in told
    tasks.unlink()
    command.append(f"steps={done + 2}")
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "resuming from" in again.stderr
    assert len(Curve.read(wanted.output / "loss.csv")) == done + 2
    assert queue.read_text().count("requeue") == 1


@pytest.mark.parametrize(
    ("launcher", "overrides"),
    [
        (("torchrun", "--nproc-per-node", "2", "--standalone", "--no-python"), ()),
        pytest.param(
            (
                *("accelerate", "launch", "--num_processes", "2", "--no_python", "--config_file"),
                str(ROOT / "recipes/accelerate/deepspeed-zero2.yaml"),
            ),
            ("engine=deepspeed", "offload=true"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["torchrun", "accelerate"],
)
def test_a_run_that_is_launched(
    recipe: Make, tmp_path: Path, launcher: tuple[str, ...], overrides: tuple[str, ...]
) -> None:
    """Two processes on the processor, by the commands that the manual names."""
    wanted = recipe(steps=2, batch_size=1)
    path = tmp_path / "recipe.yaml"
    path.write_text(wanted.as_yaml())
    programs = Path(sys.executable).parent
    command = [str(programs / launcher[0]), *launcher[1:], str(programs / "diffusion4k")]
    command += ["train", str(path), *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-3000:]
    assert len(Curve.read(wanted.output / "loss.csv")) == 2
    shares = list((wanted.output / "checkpoints/step-000002").glob("shard-*.safetensors"))
    assert len(shares) == 2
    assert run.stdout.splitlines() == [str(wanted.output / "model")]
