"""The report as HTML: the one module that knows Jinja. Every value is escaped."""

from __future__ import annotations

import os


def render(values: dict) -> str:
    """The page that report.html makes of these values."""
    from jinja2 import Environment, StrictUndefined

    here = os.path.dirname(os.path.realpath(__file__))
    with open(os.path.join(here, "report.html"), encoding="utf-8") as file:
        template = file.read()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(values)
