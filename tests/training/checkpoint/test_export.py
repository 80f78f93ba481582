"""What a finished run's folder states."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion4k.families import family_of
from diffusion4k.training.checkpoint.export import export_pipeline

STAGES = [{"side": 64}, {"side": 128, "strength": 0.5}, {"side": 256}]


@pytest.mark.parametrize(
    ("first_stage", "left"), [(None, [None] * 3), (128, ["base", None, None]), (256, ["base"] * 2)]
)
def test_smaller_stages_are_left_to_the_base(
    first_stage: int | None, left: list[str | None], tiny_model: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (base / "diffusion4k.json").write_text(json.dumps({"stages": STAGES}))
    family = family_of(base)
    transformer: Any = family.load_transformer(base, dtype=torch.float32)
    made = export_pipeline(
        tmp_path / "made",
        base=base,
        family=family,
        transformer=transformer,
        card="",
        drafted_by="base",
        first_stage=first_stage,
    )
    stages = json.loads((made / "diffusion4k.json").read_text())["stages"]
    assert [stage.get("model") for stage in stages] == [*left, *[None] * (3 - len(left))]
    assert [{k: v for k, v in stage.items() if k != "model"} for stage in stages] == STAGES
