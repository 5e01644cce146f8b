"""The site made of docs/: `just docs` builds it into build/site. Every link is checked; a warning is a failure."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

_HERE = Path(__file__).parent.resolve()
sys.path.insert(0, str(_HERE.parent))

from docs import written  # noqa: E402 - it lies beside this file

project = "Drystone"
author = "the Drystone maintainers"
copyright = "the Drystone maintainers; Apache-2.0"
release = version = version_of("drystone")

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/_*"]
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]
nitpicky = True
smartquotes = False  # an option begins with two hyphens

html_theme = "furo"
html_title = "Drystone"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_logo = "_static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_last_updated_fmt = None
_light = {"color-brand-primary": "#17566a", "color-brand-content": "#17566a"}
_dark = {"color-brand-primary": "#86cbdd", "color-brand-content": "#86cbdd"}
html_theme_options = {"light_css_variables": _light, "dark_css_variables": _dark}


class _Outside(SphinxTransform):
    """A link to a file of the repository that is no page of the site becomes the file's path, to be read there."""

    default_priority = 5

    def apply(self, **_: object) -> None:
        for link in list(self.document.findall(nodes.Element)):
            target = str(link.get("reftarget") or link.get("refuri") or "")
            if not target or "://" in target or target.startswith(("#", "mailto:")):
                continue
            path = (Path(self.document["source"]).parent / target.partition("#")[0]).resolve()
            if path.is_relative_to(_HERE):
                continue
            path = path if path.exists() else path.with_suffix(".md")
            link.replace_self(nodes.literal(text=str(path.relative_to(_HERE.parent))))


class _Written(SphinxDirective):
    """A part of the reference that is written from the code: commands, settings or routes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        text: str = getattr(written, self.arguments[0])()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _list_decisions(_app: Sphinx, page: str, text: list[str]) -> None:
    """Their page lists them in a table, for those who read it elsewhere; here they are pages below it."""
    if page == "adr/README":
        text[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def setup(app: Sphinx) -> None:
    app.add_transform(_Outside)
    app.add_directive("written", _Written)
    app.connect("source-read", _list_decisions)
