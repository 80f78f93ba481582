"""Several processes that fill one cache: the cache of one alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from diffusion4k.data.cache import CacheReport, LatentCache
from diffusion4k.data.team import EncodingTeam
from tests.data.fake import Family
from tests.data.test_cache import tensors_of

Build = Callable[..., CacheReport]


def together(build: Build, world: int, **keys: object) -> tuple[list[CacheReport], list[Family]]:
    """A build by `world` members, each in a thread."""
    barrier, families = Barrier(world, timeout=60), [Family() for _ in range(world)]

    def member(rank: int) -> CacheReport:
        team = EncodingTeam(rank, world, lambda: barrier.wait() and None)
        try:
            return build(family=families[rank], team=team, **keys)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(member, range(world))), families


def test_a_team_makes_the_cache_of_one(build: Build, tmp_path: Path) -> None:
    build(cache=tmp_path / "alone")
    reports, families = together(build, 3, cache=tmp_path / "team")
    assert tensors_of(tmp_path / "team") == tensors_of(tmp_path / "alone")
    checksums = {LatentCache(tmp_path / name).checksum() for name in ("team", "alone")}
    assert len(checksums) == 1
    # Of four photographs and their mirror images nothing twice, and everybody had a part.
    assert sum(family.images for family in families) == 8
    assert min(family.images for family in families) >= 2
    assert sorted(text for family in families for text in family.captions) == sorted(
        {text for family in families for text in family.captions}
    )
    assert {report.computed for report in reports} == {4}
    again, families = together(build, 2, cache=tmp_path / "team")
    assert {(report.computed, report.reused) for report in again} == {(0, 4)}
    assert not any(family.calls for family in families)


def test_what_one_member_skips_is_counted_by_all(
    build: Build, photographs: Path, tmp_path: Path
) -> None:
    broken = sorted(photographs.glob("*.png"))[0]
    content = broken.read_bytes()
    broken.write_bytes(content[:-200])
    try:
        reports, _ = together(build, 2, cache=tmp_path / "team", skip_bad=True)
    finally:
        broken.write_bytes(content)
    assert [report.absent for report in reports] == [1, 1]
    assert sum(len(report.skipped) for report in reports) == 1
    assert len(LatentCache(tmp_path / "team")) == 3


def test_a_photograph_that_comes_twice_is_one_member_s() -> None:
    keys = ["a", "b", "a", "c", "b", "d", "e"]
    shares = [EncodingTeam(rank, 2, lambda: None).share(keys) for rank in range(2)]
    assert shares == [{"a", "c", "e"}, {"b", "d"}]
