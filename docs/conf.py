"""Settings of the documentation: `make docs` builds it into docs/_build/html, without a network."""

import os
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

project = "skdne"
author = "the skdne developers"
copyright = author
version = release = installed_version("skdne")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "api_links",  # in _ext, as are the next two
    "mathml",
    "pictures",
]
exclude_patterns = ["_build", "_ext", "_templates", "**sg_execution_times*"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # a function is among the settings of the gallery

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

autosummary_generate = True
autodoc_typehints = "none"  # types stand in the docstrings
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["skdne.css"]
html_title = "skdne"
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skdne"},
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}

# In the order of a first visit.
EXAMPLES = [
    "plot_quickstart.py",
    "plot_erasure.py",
    "plot_lambda_search.py",
    "plot_audit_report.py",
    "plot_intersectional.py",
    "plot_black_box.py",
    "plot_real_xrays.py",
]
# They run at build with few images, so that the site is built in minutes. Their folder is relative
# to where they run: it stands on the pages.
OUT = Path("..", "docs", "_build", "gallery_output")
ARGUMENTS = {
    "plot_quickstart.py": ["--seeds", "1", "--n", "160", "--small"],
    "plot_erasure.py": ["--n", "450", "--small"],
}


def example_arguments(gallery_conf, script_vars):
    """Command line of an example."""
    script = Path(script_vars["src_file"])
    return [*ARGUMENTS.get(script.name, []), "--out", str(OUT / script.stem)]


# Without real X-rays their example is shown and not run.
HAS_XRAYS = Path(os.environ.get("SKDNE_NIH_CXR", "-"), "metadata.csv").exists()


def leave_out_request_methods(app, what, name, obj, skip, options):
    """scikit-learn makes them; their text refers to pages of its own site."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def setup(app):
    app.connect("autodoc-skip-member", leave_out_request_methods)


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_" if HAS_XRAYS else r"plot_(?!real_xrays)",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",  # what the examples start
    "within_subsection_order": EXAMPLES.index,
    "thumbnail_size": (480, 300),
    "default_thumb_file": str(DOCS / "_static" / "method.svg"),  # of examples that were not run
    "reset_argv": example_arguments,
    "matplotlib_animations": False,
    "image_srcset": [],
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "min_reported_time": 1,
    "abort_on_example_error": False,
}
