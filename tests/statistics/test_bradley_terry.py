"""Bradley-Terry against choix and statsmodels, on random and tied data."""

import choix
import numpy as np
import pytest
import statsmodels.api as sm

from diffusion4k.errors import UsageError
from diffusion4k.statistics.bradley_terry import fit_strengths, rank

MODELS = 4


def comparisons(seed: int, number: int = 600, ties: float = 0.2):
    rng = np.random.default_rng(seed)
    strengths = rng.normal(0, 0.7, MODELS)
    first = rng.integers(0, MODELS, number)
    second = (first + rng.integers(1, MODELS, number)) % MODELS
    chance = 1 / (1 + np.exp(strengths[second] - strengths[first]))
    scores = (rng.random(number) < chance).astype(float)
    scores[rng.random(number) < ties] = 0.5
    return first, second, scores


def design(first, second) -> np.ndarray:
    """Columns of models 1, 2, ...; the strength of model 0 is 0."""
    columns = np.eye(MODELS)[first] - np.eye(MODELS)[second]
    return columns[:, 1:]


@pytest.mark.parametrize("ties", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_strengths_equal_choix(seed: int, ties: float) -> None:
    first, second, scores = comparisons(seed, ties=ties)
    # choix knows wins only: each comparison twice, a tie once for each.
    data = []
    for i, j, score in zip(first, second, scores, strict=True):
        data += [(i, j)] * int(2 * score) + [(j, i)] * int(2 - 2 * score)
    found = rank(first, second, scores, MODELS)
    for fit in (choix.ilsr_pairwise, choix.opt_pairwise):
        expected = fit(MODELS, data)
        np.testing.assert_allclose(found.strengths, expected - expected.mean(), atol=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_clustered_variances_equal_statsmodels(seed: int) -> None:
    first, second, scores = comparisons(seed)
    rng = np.random.default_rng(seed)
    people, prompts = rng.integers(0, 12, len(scores)), rng.integers(0, 40, len(scores))
    model = sm.GLM(scores, design(first, second), family=sm.families.Binomial())
    plain = model.fit()
    strengths = np.concatenate([[0], plain.params])
    for groups in ([people], [prompts]):
        found = rank(first, second, scores, MODELS, groups)
        np.testing.assert_allclose(found.strengths, strengths - strengths.mean(), atol=1e-9)
        fit = model.fit(cov_type="cluster", cov_kwds={"groups": groups[0], "use_correction": False})
        count = len(np.unique(groups[0]))
        # Centred strengths as a function of those relative to model 0.
        change = np.vstack([np.zeros(MODELS - 1), np.eye(MODELS - 1)])
        change = change - change.mean(0)
        spread = change @ fit.cov_params() @ change.T * count / (count - 1)
        from scipy.stats import t

        reach = t.ppf(0.975, count - 1) * np.sqrt(np.diag(spread))
        np.testing.assert_allclose(found.high - found.strengths, reach, rtol=1e-6)


def test_a_model_that_always_wins_is_first_without_an_interval() -> None:
    wins = np.array([[0, 10, 10], [0, 0, 6], [0, 4, 0]])
    strengths, separated = fit_strengths(wins)
    assert separated and strengths.argmax() == 0 and strengths.argmin() == 2
    assert np.isfinite(strengths).all() and strengths.sum() == pytest.approx(0)
    found = rank([0] * 30, [1] * 30, [1.0] * 30, 2)
    assert found.separated and np.isnan(found.low).all() and np.isnan(found.high).all()


def test_far_apart_but_not_separated() -> None:
    wins = np.array([[0, 1e6], [1, 0]])
    strengths, separated = fit_strengths(wins)
    assert not separated
    assert strengths[0] - strengths[1] == pytest.approx(np.log(1e6), abs=1e-6)


def test_what_cannot_be_ranked() -> None:
    with pytest.raises(UsageError, match="link not all models"):
        fit_strengths([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    with pytest.raises(UsageError, match="two different models"):
        rank([0], [0], [1.0], 2)
    few = rank([0, 0, 0], [1, 1, 1], [1.0, 0.0, 1.0], 2)
    assert np.isnan(few.low).all() and few.strengths[0] > 0
