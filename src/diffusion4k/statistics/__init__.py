"""How sure a number is: bootstrap intervals, correlation, agreement of raters.

Pure functions of arrays, used by the benchmark and by the analysis of preference studies.
"""

from diffusion4k.statistics.agreement import against_others, krippendorff_alpha
from diffusion4k.statistics.bootstrap import (
    Interval,
    Statistic,
    bootstrap,
    mean_of,
    minus,
    ratio_of_sums,
)
from diffusion4k.statistics.correlation import CORRELATIONS, correlate, kendall, plcc, srcc
from diffusion4k.statistics.crossed import FEWEST_CROSSED, crossed
from diffusion4k.statistics.jackknife import jackknife

__all__ = [
    "CORRELATIONS",
    "FEWEST_CROSSED",
    "Interval",
    "Statistic",
    "against_others",
    "bootstrap",
    "correlate",
    "crossed",
    "jackknife",
    "kendall",
    "krippendorff_alpha",
    "mean_of",
    "minus",
    "plcc",
    "ratio_of_sums",
    "srcc",
]
