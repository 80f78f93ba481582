"""Win rates, rankings, bias and agreement against other roads to the same numbers."""

import choix
import krippendorff
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, pearsonr, spearmanr

from diffusion4k.preference.analysis.agreement import among_people, judge_against_people
from diffusion4k.preference.analysis.scores import PEOPLE, ready
from diffusion4k.preference.analysis.wins import position_bias, ranking, win_rates
from tests.preference.analysis.simulate import answer, judge, people

MODELS = {"alpha": 0.3, "beta": -0.1, "gamma": -0.2}
VALUES = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}
ROWS = people(MODELS, number=8, prompts=25, seed=3)
FRAME = pd.DataFrame([vars(row) | {"value": VALUES[row.choice]} for row in ROWS])


def test_win_rates_equal_those_by_pandas() -> None:
    found = win_rates(ready(ROWS).scores[PEOPLE], ["beta", "alpha", "gamma"])
    assert len(found) == 9
    for row in found:
        models = sorted([row["model"], row["against"]])
        part = FRAME[(FRAME.question == row["question"]) & (FRAME.model_a == models[0])]
        part = part[part.model_b == models[1]]
        share = part.value if row["model"] == models[0] else 1 - part.value
        assert row["share"]["value"] == pytest.approx(share.mean())
        assert (row["wins"], row["losses"]) == ((share == 1).sum(), (share == 0).sum())
        assert (row["people"], row["prompts"], row["scores"]) == (8, 25, len(part))
        wilson = binomtest(int((share == 1).sum()), len(part)).proportion_ci(method="wilson")
        if not row["ties"]:
            assert row["wilson"]["low"] == pytest.approx(wilson.low)
        by_prompt = share.groupby(part.prompt).mean()
        sign = row["sign_test"]
        assert sign["prompts_won"] == (by_prompt > 0.5).sum()
        assert sign["prompts_even"] == (by_prompt == 0.5).sum()
        decided = sign["prompts_won"] + sign["prompts_lost"]
        assert sign["p"] == pytest.approx(binomtest(sign["prompts_won"], decided).pvalue)
        for name in ("share", "wilson", "bootstrap_by_prompt", "bootstrap_by_person"):
            interval = row[name]
            assert interval["low"] < interval["value"] < interval["high"]
        # People and prompts both left to chance know less than either alone.
        width = row["share"]["high"] - row["share"]["low"]
        assert width > row["wilson"]["high"] - row["wilson"]["low"]


def test_ours_stands_first() -> None:
    found = win_rates(ready(ROWS).scores[PEOPLE], ["gamma", "alpha", "beta"])
    assert {(row["model"], row["against"]) for row in found} == {
        *(("gamma", "alpha"), ("gamma", "beta"), ("alpha", "beta"))
    }


def test_the_ranking_equals_choixs() -> None:
    part = FRAME[FRAME.question == "fine_details"]
    data = []
    names = sorted(MODELS)
    for row in part.itertuples():
        i, j = names.index(row.model_a), names.index(row.model_b)
        data += [(i, j)] * int(2 * row.value) + [(j, i)] * int(2 - 2 * row.value)
    expected = choix.opt_pairwise(3, data)
    scores = [s for s in ready(ROWS).scores[PEOPLE] if s.question == "fine_details"]
    found = ranking(scores)
    assert [row["model"] for row in found["models"]] == [names[i] for i in np.argsort(-expected)]
    for row in found["models"]:
        strength = row["strength"]
        assert strength["value"] == pytest.approx(expected[names.index(row["model"])], abs=1e-4)
        assert strength["low"] < strength["value"] < strength["high"]
    assert not found["note"]


def test_a_ranking_says_what_it_does_not_know() -> None:
    always = [answer("q", i, "p", "a", "b", "a", "model_a") for i in range(20)]
    found = ranking(ready(always).scores[PEOPLE])
    assert "never lost" in found["note"] and found["models"][0]["model"] == "a"
    assert found["models"][0]["strength"]["low"] is None
    apart = always + [answer("q", i, "p", "c", "d", "c", "model_a") for i in range(20)]
    assert "no common scale" in ranking(ready(apart).scores[PEOPLE])["note"]
    few = [answer("q", i, "p", "a", "b", "a", f"model_{'ab'[i % 2]}") for i in range(4)]
    assert "fewer than 5 prompts" in ranking(ready(few).scores[PEOPLE])["note"]


def test_few_people_leave_the_interval_to_prompts() -> None:
    rows = people(MODELS, number=3, prompts=25)
    [first, *_] = win_rates(ready(rows).scores[PEOPLE], sorted(MODELS))
    assert first["share_over"] == "prompts" and first["share"]["low"] is not None
    assert first["bootstrap_by_person"]["low"] is None
    rows = people(MODELS, number=3, prompts=3)
    [first, *_] = win_rates(ready(rows).scores[PEOPLE], sorted(MODELS))
    assert first["share"]["low"] is None and first["wilson"]["low"] is not None


def test_position_bias_is_measured_and_moves_no_win_rate() -> None:
    shares = {("alpha", "beta"): 0.6}
    rows = judge(shares, prompts=1500, bias=0.2, seed=4)
    found = ready(rows)
    for row in position_bias(found.answers["gpt-4o"]):
        assert row["first"]["value"] == pytest.approx(0.6, abs=0.02)
        assert row["first"]["low"] < 0.6 < row["first"]["high"]
    for row in win_rates(found.scores["gpt-4o"], ["alpha", "beta"]):
        assert row["share"]["value"] == pytest.approx(0.6, abs=0.02)


def test_alpha_equals_krippendorffs() -> None:
    found = among_people(ready(ROWS).scores[PEOPLE])
    for row in found:
        part = FRAME[FRAME.question == row["question"]]
        table = part.pivot_table("value", "participant", ["prompt", "model_a", "model_b"])
        expected = krippendorff.alpha(table.to_numpy(), level_of_measurement="ordinal")
        assert row["alpha"]["value"] == pytest.approx(expected)
        assert (row["people"], row["shared_items"]) == (8, 75)


def test_a_judge_against_people() -> None:
    pairs = {("alpha", "beta"): 0.65, ("alpha", "gamma"): 0.7, ("beta", "gamma"): 0.5}
    scores = ready([*ROWS, *judge(pairs, prompts=25, seed=1)]).scores
    found = judge_against_people(scores["gpt-4o"], scores[PEOPLE])
    judged = pd.DataFrame([vars(score) for score in scores["gpt-4o"]])
    keys = ["question", "prompt", "model_a", "model_b"]
    both = FRAME.groupby(keys).value.mean().to_frame("people")
    both = both.join(judged.groupby(keys).value.mean().rename("judge"))
    decided = both[(both != 0.5).all(axis=1)]
    same = ((decided.people > 0.5) == (decided.judge > 0.5)).mean()
    assert (found["items"], found["both_decided"]) == (225, len(decided))
    assert found["same"]["value"] == pytest.approx(same)
    assert found["same"]["low"] < same < found["same"]["high"]
    rates = both.groupby(["question", "model_a", "model_b"]).mean()
    assert found["plcc"] == pytest.approx(pearsonr(rates.judge, rates.people)[0])
    assert found["srcc"] == pytest.approx(spearmanr(rates.judge, rates.people)[0])
    assert found["srcc_of_items"] == pytest.approx(spearmanr(both.judge, both.people)[0])
    # Against itself it always agrees.
    itself = judge_against_people(scores["gpt-4o"], scores["gpt-4o"])
    assert itself["same"]["value"] == 1 and itself["plcc"] == pytest.approx(1)
