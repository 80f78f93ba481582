"""The same dataset, row by row and byte by byte, here and on a Ray cluster of two workers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusion4k.curation.build import build_dataset
from tests.curation.conftest import Built, recipe, save
from tests.curation.process import start
from tests.curation.test_parquet import make, png

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a head without processors and two workers with one each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    small = {"object_store_memory": 100 << 20}
    cluster = cluster_utils.Cluster(True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    yield str(cluster.address)
    cluster.shutdown()


def test_here_and_there(tmp_path: Path, cluster: str) -> None:
    for seed in range(30):
        save(tmp_path / f"in/{seed}.jpg", seed % 25, *((96, 64) if seed % 9 else (40, 30)))
    (tmp_path / "in/broken.jpg").write_bytes(b"broken")
    (tmp_path / "in/3.txt").write_text("a caption")
    rows = [{"image": {"bytes": png(100 + n), "path": None}} for n in range(10)]
    make(tmp_path / "hub/train.parquet", rows, row_group_size=4)
    sources = (tmp_path / "in", {"kind": "huggingface", "path": str(tmp_path / "hub")})
    keys = {"split": {"count": 6}, "publish": {"format": "webp"}}
    build_dataset(recipe(tmp_path / "here", *sources, **keys))
    wanted = recipe(tmp_path / "there", *sources, **keys)
    # Killed once in the midst of it.
    first = start(wanted, RAY=cluster, SLOW="0.1")
    _until_measured(wanted.output, first)
    first.kill()
    first.communicate()
    process = start(wanted, RAY=cluster)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    here, there = (Built(tmp_path / name, None) for name in ("here", "there"))  # type: ignore
    assert here.rows == there.rows and len(here.rows) == 41
    assert here.files() == there.files() and len(here.files()) > 20


def _until_measured(output: Path, process) -> None:
    import time

    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if list((output / "work").glob("measures-*/*.parquet")):
            return
        time.sleep(0.01)
