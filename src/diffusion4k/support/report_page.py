"""Reports as one HTML page that needs nothing else: a template, filled in.

A template `{% extends "support/report_page.html" %}` with blocks `title`, `style` (its own rules,
after the common ones) and `main`. `{{ 1|counted("image") }}` is `1 image`.
"""

from pathlib import Path

from diffusion4k.support.wording import counted

__all__ = ["render"]

_PACKAGE = Path(__file__).parents[1]


def render(template: str, **values: object) -> str:
    """The page of a template, such as `demo/report.html`; a value that it misses is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    return environment.get_template(template).render(**values)
