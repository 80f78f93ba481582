"""What a photograph is worth as training material, in numbers: pure functions of its pixels.

`measure(pixels)` gives them all, `MEASURES` says what each is; the names are the columns of the
manifest. `curation.thresholds` and `curation.steps.quality` say which values are good enough.
"""

from diffusion4k.curation.measures.all import MEASURES, measure, measure_file, measure_header

__all__ = ["MEASURES", "measure", "measure_file", "measure_header"]
