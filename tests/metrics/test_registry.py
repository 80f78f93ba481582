"""Which measures there are, in which order, and that recipes know of them without torch."""

import subprocess
import sys

from diffusion4k.metrics.networks import Networks
from diffusion4k.metrics.registry import known_columns, measure_kinds

ORDER = (
    *("glcm_score", "glcm_entropy", "glcm_contrast", "glcm_dissimilarity", "glcm_homogeneity"),
    *("glcm_energy", "glcm_correlation", "glcm_asm", "glcm_mean", "glcm_variance", "glcm_std"),
    "compression_ratio",
    *(f"band_{level}" for level in range(1, 6)),
    *(f"band_{level}_distance" for level in range(1, 6)),
    *("bands_distance", "spectrum_distance", "detail_distance", "repetition"),
    *("detail_distance_to_reference", "token_grid_ratio", "fd_effnet", "fd_effnet_patch"),
    *("psnr", "ssim", "lpips", "fid", "kid", "fid_patch", "cmmd", "fd_dinov2", "clip_score"),
    *("clip_long_prompts", "aesthetics", "pickscore", "hpsv3", "niqe", "musiq", "maniqa"),
)
KEYS = {
    *("inception", "fid_resize", "fid_side", "patch_size", "patches_per_image", "clip"),
    *("long_prompts", "aesthetics_clip", "aesthetics_mlp", "cmmd_clip", "dinov2", "pickscore"),
    *("lpips", "lpips_network", "lpips_heads", "pyiqa", "hpsv3"),
}


def test_columns_in_the_order_of_tables() -> None:
    assert tuple(column.name for column in known_columns()) == ORDER
    positions = [kind.position for kind in measure_kinds()]
    assert len(set(positions)) == len(positions)


def test_every_key_of_the_section_is_a_measure_s() -> None:
    assert set(Networks.model_fields) == KEYS


def test_recipes_know_the_keys_without_the_heavy_libraries() -> None:
    code = "import sys, diffusion4k.metrics.networks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
