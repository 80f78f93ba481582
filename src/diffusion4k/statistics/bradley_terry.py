r"""Bradley-Terry: a strength for each model from comparisons of two at a time.

    P(i is preferred to j) = 1 / (1 + exp(s_j - s_i)),    sum_i s_i = 0

**Ties** are half a win for each, which leaves a mean share of 1/2 at equal strengths; how often
people see no difference is reported beside it, not modelled.

**Fit.** Newton's method on the concave log-likelihood; wins W (i over j), expected wins W^ = N P:

    gradient  sum_j (W - W^)_ij,    Hessian  H = diag(sum_j V_ij) - V,    V_ij = N_ij P_ij P_ji

**Separation.** If the models fall into two groups of which one never lost to the other (a model
that won always), the likelihood grows for ever as they move apart. Then half a win is added for
both models of each two that met, which gives the order and says "at least"; no intervals.

**Intervals** hold for answers that belong together by person and by prompt: each answer's influence
on the strengths, H^+ (e_i - e_j) (y - P_ij), is summed within clusters (`statistics.clusters`).

Sources: Bradley and Terry, Biometrika 39, 1952; Ford, Am. Math. Monthly 64, 1957 (separation);
Cattelan, Stat. Sci. 27, 2012 (dependent comparisons).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.errors import UsageError
from diffusion4k.statistics.clusters import FEWEST, clustered_variance

__all__ = ["Ranking", "fit_strengths", "rank"]

_STEPS = 100
_LONGEST = 2.0  # A Newton step beyond it overshoots where few comparisons have happened.
_EXACT = 1e-12

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Strengths in log-odds, each `(K,)`."""

    strengths: Array
    low: Array
    """NaN where there is too little data, or the models are separated."""
    high: Array
    separated: bool
    """Whether a group of models never lost to the others."""


def rank(
    first: ArrayLike,
    second: ArrayLike,
    scores: ArrayLike,
    models: int,
    clusterings: Sequence[ArrayLike] = (),
    *,
    level: float = 0.95,
) -> Ranking:
    """Strengths of models from comparisons, each `(n,)`.

    Args:
        first, second: numbers of the two models, from 0.
        scores: 1 if the first is preferred, 0 if the second is, 1/2 for a tie.
        clusterings: one or two kinds of labels `(n,)`; without, each comparison is its own.

    Raises:
        UsageError: models that no chain of comparisons links, or wrong numbers.
    """
    i, j = np.asarray(first, np.intp), np.asarray(second, np.intp)
    y = np.asarray(scores, np.float64)
    if not len(y) or not i.shape == j.shape == y.shape or (i == j).any():
        raise UsageError(f"{len(y)} comparisons: give at least one, each of two different models")
    wins = np.zeros((models, models))
    np.add.at(wins, (i, j), y)
    np.add.at(wins, (j, i), 1 - y)
    strengths, separated = fit_strengths(wins)
    nothing = np.full(models, np.nan)
    groups = [np.asarray(labels) for labels in clusterings or [np.arange(len(y))]]
    if separated or min(len(np.unique(group)) for group in groups) < FEWEST:
        return Ranking(strengths, nothing, nothing, separated)
    from scipy.special import stdtrit

    inverse = np.linalg.pinv(_hessian(strengths, wins + wins.T))
    expected = _preferred(strengths[i] - strengths[j])
    influence = (inverse[i] - inverse[j]) * (y - expected)[:, None]
    variance, freedom = clustered_variance(influence, groups)
    reach = stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance)
    return Ranking(strengths, strengths - reach, strengths + reach, separated)


def fit_strengths(wins: ArrayLike) -> tuple[Array, bool]:
    """Strengths `(K,)` of the greatest likelihood, and whether the models are separated.

    `wins` `(K, K)`: how often the model of the row was preferred to that of the column.

    Raises:
        UsageError: models that no chain of comparisons links.
    """
    table = np.asarray(wins, np.float64)
    if _parts(table + table.T) > 1:
        raise UsageError("comparisons link not all models: their strengths have no common scale")
    separated = _parts(table) > 1
    if separated:
        table = table + (table + table.T > 0) / 2
    played = table + table.T
    strengths = np.zeros(len(table))
    for _ in range(_STEPS):
        expected = played * _preferred(strengths[:, None] - strengths)
        step = np.linalg.pinv(_hessian(strengths, played)) @ (table - expected).sum(1)
        strengths = strengths + step * min(1.0, _LONGEST / max(np.abs(step).max(), _EXACT))
        if np.abs(step).max() < _EXACT:
            break
    return strengths - strengths.mean(), separated


def _preferred(difference: Array) -> Array:
    return 1 / (1 + np.exp(-difference))


def _hessian(strengths: Array, played: Array) -> Array:
    share = _preferred(strengths[:, None] - strengths)
    variance = played * share * (1 - share)
    np.fill_diagonal(variance, 0)
    return np.diag(variance.sum(1)) - variance


def _parts(edges: Array) -> int:
    """How many groups of models cannot reach each other both ways."""
    from scipy.sparse.csgraph import connected_components

    return int(connected_components(edges > 0, directed=True, connection="strong")[0])
