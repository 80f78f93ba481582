"""The tables as LaTeX (booktabs): win rates, rankings, agreement."""

from diffusion4k.preference.analysis.results import PreferenceResults, outcomes
from diffusion4k.statistics.bootstrap import IntervalJson

__all__ = ["tables"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def tables(results: PreferenceResults) -> str:
    """All tables, each an environment of its own; needs the package booktabs."""
    parts = ["% Made by diffusion4k study report; needs \\usepackage{booktabs}.", _wins(results)]
    if len(results["models"]) > 2:
        parts.append(_rankings(results))
    if results["among_people"] or results["judges_against_people"]:
        parts.append(_agreement(results))
    return "\n\n".join(parts) + "\n"


def _wins(results: PreferenceResults) -> str:
    rows = []
    for name, group in results["groups"].items():
        for row in group["win_rates"]:
            percent = [f"{100 * count / row['scores']:.1f}" for count in outcomes(row).values()]
            cells = [name, row["model"], row["against"], results["questions"][row["question"]]]
            rows.append(
                [
                    *map(_escaped, cells),
                    *percent,
                    _percent(row["share"]),
                    _p_value(row["sign_test"]["p"]),
                ]
            )
    heads = ["Raters", "Model", "Against", "Question", "Win", "Tie", "Loss", r"Share [95\%]", "$p$"]
    return _table(
        "llllrrrrr", heads, rows, "Preferences in percent; a tie counts half in the share."
    )


def _rankings(results: PreferenceResults) -> str:
    rows = []
    for name, group in results["groups"].items():
        for question, ranking in group["rankings"].items():
            for place, model in enumerate(ranking["models"], 1):
                title = results["questions"][question]
                rows.append(
                    [
                        *map(_escaped, (name, title, str(place), model["model"])),
                        _plain(model["strength"]),
                    ]
                )
    heads = ["Raters", "Question", "", "Model", r"Strength [95\%]"]
    return _table("llrlr", heads, rows, "Bradley--Terry strengths in log-odds; their mean is 0.")


def _agreement(results: PreferenceResults) -> str:
    rows = [
        [
            "people",
            _escaped(results["questions"][row["question"]]),
            r"Krippendorff's $\alpha$",
            _plain(row["alpha"]),
        ]
        for row in results["among_people"]
    ]
    for name, row in results["judges_against_people"].items():
        for found in row["questions"]:
            title = results["questions"][found["question"]]
            same = _percent(found["same"])
            rows.append([_escaped(name), _escaped(title), r"same as most people, \%", same])
    return _table("lllr", ["Raters", "Question", "Measure", r"Value [95\%]"], rows, "Agreement.")


def _table(columns: str, heads: list[str], rows: list[list[str]], caption: str) -> str:
    lines = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            r"\end{table}",
        ]
    )


def _percent(interval: IntervalJson) -> str:
    return _interval(interval, 100, 1)


def _plain(interval: IntervalJson) -> str:
    return _interval(interval, 1, 2)


def _interval(interval: IntervalJson, scale: float, digits: int) -> str:
    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None:
        return "--"
    text = f"${scale * value:.{digits}f}$"
    if low is None or high is None:
        return text
    return f"{text} [${scale * low:.{digits}f}$, ${scale * high:.{digits}f}$]"


def _p_value(p: float) -> str:
    return "$<$.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)
