"""Shares of clustered answers: against statsmodels, SciPy and simulated studies of known truth."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit, ndtr
from scipy.stats import binomtest, t

from diffusion4k.errors import UsageError
from diffusion4k.statistics.bradley_terry import fit_strengths, rank
from diffusion4k.statistics.clusters import cluster_bootstrap, clustered_share


def study(rng, people: int, prompts: int, views: int, mean: float, by_person: float, by_prompt):
    """Answers of a probit model; each prompt is seen by `views` people. Scores and labels."""
    order = rng.random((prompts, people)).argsort(1)[:, :views]
    prompt = np.repeat(np.arange(prompts), views)
    person = order.ravel()
    liking = mean + rng.normal(0, by_person, people)[person]
    liking = liking + rng.normal(0, by_prompt, prompts)[prompt]
    return (rng.random(len(prompt)) < ndtr(liking)).astype(float), person, prompt


@pytest.mark.parametrize("seed", range(3))
def test_one_way_equals_statsmodels(seed: int) -> None:
    scores, person, _ = study(np.random.default_rng(seed), 12, 40, 6, 0.3, 0.5, 0.5)
    model = sm.GLM(scores, np.ones(len(scores)), family=sm.families.Binomial())
    # The same on the scale of log-odds: a logistic regression on a constant.
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": person, "use_correction": False})
    reach = t.ppf(0.975, 11) * fit.bse[0] * np.sqrt(12 / 11)
    found = clustered_share(scores, [person])
    assert found.value == pytest.approx(scores.mean())
    assert found.low == pytest.approx(expit(logit(scores.mean()) - reach), rel=1e-6)
    assert found.high == pytest.approx(expit(logit(scores.mean()) + reach), rel=1e-6)


def test_two_way_equals_the_analysis_of_variance() -> None:
    """In a full table the variance is (MS_people + MS_prompts - MS_rest) / n, a classic."""
    rng = np.random.default_rng(4)
    table = rng.random((15, 30)) < 0.6 + 0.2 * rng.random((15, 1))
    scores = table.astype(float)
    person, prompt = (axis.ravel() for axis in np.indices(scores.shape))
    found = clustered_share(scores.ravel(), [person, prompt])
    share, n = scores.mean(), scores.size
    of_people = 30 * ((scores.mean(1) - share) ** 2).sum() / 14
    of_prompts = 15 * ((scores.mean(0) - share) ** 2).sum() / 29
    of_cells = ((scores - share) ** 2).sum() / n
    variance = (of_people + of_prompts - of_cells) / n
    reach = t.ppf(0.975, 14) * np.sqrt(variance) / (share * (1 - share))
    assert found.low == pytest.approx(expit(logit(share) - reach))
    assert found.high == pytest.approx(expit(logit(share) + reach))


def test_without_clusters_it_is_wilsons() -> None:
    scores = np.repeat([1.0, 0.0], [70, 42])
    expected = binomtest(70, 112).proportion_ci(method="wilson")
    found = clustered_share(scores, [])
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_bootstrap_agrees_with_the_formula_where_there_are_many() -> None:
    scores, person, _ = study(np.random.default_rng(1), 40, 60, 8, 0.2, 0.3, 0.3)
    drawn = cluster_bootstrap(scores, person, resamples=20_000)
    plain = clustered_share(scores, [person])
    assert drawn.value == plain.value
    assert drawn.low == pytest.approx(plain.low, abs=0.006)
    assert drawn.high == pytest.approx(plain.high, abs=0.006)
    assert cluster_bootstrap(scores, person) == cluster_bootstrap(scores, person)


def test_too_little_data_has_no_interval() -> None:
    for scores, labels in (([1.0, 0.0, 1.0], [0, 1, 2]), ([1.0] * 9, [0] * 9)):
        for found in (clustered_share(scores, [labels]), cluster_bootstrap(scores, labels)):
            assert np.isnan(found.low) and np.isnan(found.high)
            assert found.value == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_agree_the_clusters_count(value: float) -> None:
    labels = np.repeat(np.arange(10), 5)
    for found in (clustered_share([value] * 50, [labels]), cluster_bootstrap([value] * 50, labels)):
        assert found.value == value
        bound = found.high if value == 0 else 1 - found.low
        assert bound == pytest.approx(t.ppf(0.975, 9) ** 2 / (10 + t.ppf(0.975, 9) ** 2))


def test_wrong_arguments() -> None:
    for scores in ([], [0.5, 1.5], [[1.0]], [np.nan]):
        with pytest.raises(UsageError, match="scores of shape"):
            clustered_share(scores, [])
    with pytest.raises(UsageError, match="2 cluster labels for 3"):
        clustered_share([1, 0, 1], [[1, 2]])


SIMULATIONS = 1000
DESIGNS = [
    # people, prompts, views, mean, spread between people, between prompts
    *[(10, 112, 10, 0.3, 0.5, 0.5), (10, 112, 10, 0.5, 0.1, 0.3), (10, 112, 10, 1.2, 0.5, 0.5)],
    *[(10, 112, 3, 0.8, 0.3, 0.8), (30, 112, 3, 0.0, 0.5, 0.5), (20, 30, 20, 0.3, 0.3, 0.3)],
    *[(50, 200, 5, 0.3, 0.5, 0.2)],
]


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [*DESIGNS, (5, 40, 5, 0.5, 0.3, 0.3)])
def test_two_way_intervals_cover_the_truth(wanted) -> None:
    """Over studies with other people and other prompts."""
    *_, mean, by_person, by_prompt = wanted
    truth = ndtr(mean / np.sqrt(1 + by_person**2 + by_prompt**2))
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(SIMULATIONS):
        scores, person, prompt = study(rng, *wanted)
        found = clustered_share(scores, [person, prompt])
        covered += found.low <= truth <= found.high
    print(wanted, "two-way", covered / SIMULATIONS)
    assert 0.93 <= covered / SIMULATIONS <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("people", [10, 30])
def test_where_all_are_alike_two_way_intervals_are_hardly_too_wide(people: int) -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(SIMULATIONS):
        scores, person, prompt = study(rng, people, 60, 10, 0.4, 0.0, 0.0)
        found = clustered_share(scores, [person, prompt])
        covered += found.low <= ndtr(0.4) <= found.high
    print(people, "people, all alike", covered / SIMULATIONS)
    assert 0.94 <= covered / SIMULATIONS <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["bootstrap", "formula"])
@pytest.mark.parametrize("by", ["person", "prompt"])
@pytest.mark.parametrize("wanted", DESIGNS[:5])
def test_one_way_intervals_cover_the_truth(wanted, by: str, interval: str) -> None:
    """Over studies with other people and the same prompts, or the other way round."""
    people, prompts, views, mean, by_person, by_prompt = wanted
    rng = np.random.default_rng(1)
    # What stays the same from study to study is at its mean.
    spreads = (by_person, 0.0) if by == "person" else (0.0, by_prompt)
    truth = ndtr(mean / np.sqrt(1 + sum(spreads) ** 2))
    covered = 0
    for seed in range(SIMULATIONS):
        scores, person, prompt = study(rng, people, prompts, views, mean, *spreads)
        labels = person if by == "person" else prompt
        if interval == "bootstrap":
            found = cluster_bootstrap(scores, labels, seed=seed, resamples=1000)
        else:
            found = clustered_share(scores, [labels])
        covered += found.low <= truth <= found.high
    print(wanted, by, interval, covered / SIMULATIONS)
    assert 0.93 <= covered / SIMULATIONS <= 0.97


@pytest.mark.slow
def test_bradley_terry_intervals_cover_the_truth() -> None:
    """Each prompt has its own liking for each model, each person too."""
    rng = np.random.default_rng(2)
    means, by_person, by_prompt = np.array([0.6, 0.1, -0.2, -0.5]), 0.3, 0.4
    spread = np.sqrt(1 + 2 * by_person**2 + 2 * by_prompt**2)
    truth, _ = fit_strengths(ndtr((means[:, None] - means) / spread) * (1 - np.eye(4)))
    pairs = np.array([(i, j) for i in range(4) for j in range(i + 1, 4)])
    covered = np.zeros(4)
    for _ in range(SIMULATIONS):
        liked = means + rng.normal(0, by_person, (12, 4))[:, None]
        liked = liked + rng.normal(0, by_prompt, (40, 4))
        person, prompt, pair = (axis.ravel() for axis in np.indices((12, 40, 6)))
        first, second = pairs[pair].T
        chance = ndtr(liked[person, prompt, first] - liked[person, prompt, second])
        scores = rng.random(len(chance)) < chance
        found = rank(first, second, scores, 4, [person, prompt])
        covered += (found.low <= truth) & (truth <= found.high)
    print("Bradley-Terry", covered / SIMULATIONS)
    assert (covered / SIMULATIONS >= 0.93).all() and (covered / SIMULATIONS <= 0.97).all()
