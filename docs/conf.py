"""How Sphinx builds the site: ``sphinx-build -W docs site`` (``-W``: a warning is an error)."""

import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).parent))

from from_code import fill, has_placeholder

from srbench.version import __version__

project = "srbench"
copyright = "the srbench maintainers, Apache-2.0"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
highlight_language = "none"  # of blocks without a language: commands and their output
html_theme = "furo"
html_title = f"srbench {version}"
html_copy_source = html_show_sourcelink = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
napoleon_use_ivar = True


def setup(app: Sphinx) -> None:
    """Fill the placeholders of pages as they are read, in every build: the code may have changed."""

    def read(_app: Sphinx, _page: str, content: list[str]) -> None:
        content[0] = fill(content[0])

    def outdated(_app: Sphinx, environment: BuildEnvironment, *_pages: set[str]) -> list[str]:
        return [page for page in environment.found_docs if has_placeholder(environment.doc2path(page))]

    app.connect("source-read", read)
    app.connect("env-get-outdated", outdated)
