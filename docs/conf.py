"""Configuration of the documentation: ``make docs``."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import learned_descent

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "learned_descent"
author = "The learned_descent developers"
copyright = f"2026, {author}"  # noqa: A001
version = release = learned_descent.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
if find_spec("sphinx_copybutton"):  # without it the pages are the same, less the buttons
    extensions.append("sphinx_copybutton")
exclude_patterns = ["_build"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 72
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "code"

html_theme = "furo"
html_title = "learned_descent"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#8a4500", "color-brand-content": "#8a4500"},
    "dark_css_variables": {"color-brand-primary": "#ffb86b", "color-brand-content": "#ffb86b"},
}


def _list_references(
    app: Sphinx, what: str, name: str, target: object, options: Any, lines: list[str]
) -> None:
    """Makes every entry of a section ``References`` an item of a list; one begins with the initials
    of an author."""
    inside, previous = False, ""
    for number, line in enumerate(lines):
        inside = line.strip() == "References:" or (inside and (not line or line.startswith(" ")))
        author = re.match(r"( +)([A-Z])\.(?=[ -])", line)
        if inside and author and (previous.endswith((".", ")")) or previous == "References:"):
            lines[number] = f"{author[1]}* {author[2]}\\.{line[author.end() :]}"
        elif inside and line.strip() and previous:
            lines[number] = f"  {line}" if line.strip() != "References:" else line
        previous = line.strip()


def _hide_arguments_of_module(
    app: Sphinx,
    what: str,
    name: str,
    target: object,
    options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Leaves out the arguments that an abstract class only has from ``torch.nn.Module``."""
    return (
        "" if signature in ("(*args: Any, **kwargs: Any)", "(*args, **kwargs)") else signature
    ), returned


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _list_references, priority=400)
    app.connect("autodoc-process-signature", _hide_arguments_of_module)
