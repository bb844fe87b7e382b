"""The configuration of the manual: ``make docs``, or ``python -m sphinx -W -b html docs docs/_build``. Nothing is fetched."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for tables.py

project = "pytest-edgeai"
author = "the authors of pytest-edgeai"
html_title = "pytest-edgeai"
extensions = ["myst_parser", "sphinx.ext.autodoc", "tables"]
exclude_patterns = ["_build", "examples", "**/README.md"]
suppress_warnings = ["misc.highlighting_failure"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": True, "exclude-members": "__init__,__new__"}
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
