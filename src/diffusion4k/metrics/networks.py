"""Which weights the metrics with networks use: a section of a configuration.

Its keys are those of the `section` that each measure states in its own file; `make_measures` makes
measures of it. Nothing heavy is imported here.
"""

from typing import Any

from pydantic import create_model

from diffusion4k.metrics.registry import measure_kinds

__all__ = ["Networks"]

_sections = dict.fromkeys(kind.section for kind in measure_kinds() if kind.section)
# Of several bases pydantic takes the fields of the last first.
_Keys: Any = create_model("_Keys", __base__=tuple(reversed(_sections)))


class Networks(_Keys):
    """Files, folders, hub ids, or `OWNER/NAME/FILE` on the hub.

    Each name of weights may end in `#sha256=` and the checksum of its file. A metric whose weights
    are not named is missing; none is fetched unasked.
    """
