"""From raw photographs to a curated dataset: a Daft pipeline of small steps.

    sources -> header -> decode and measure -> quality -> duplicates -> captions -> scores -> hooks
      -> inspection -> split -> publishing

What is costly (headers, measures, scores) is kept by the picture's key and never done twice; what
is cheap (thresholds, duplicates, split) is decided anew at each build.
"""
