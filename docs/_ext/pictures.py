"""Pictures that scroll on a phone instead of shrinking, and thumbnails with a text."""

import re

from docutils import nodes
from sphinx_gallery.directives import imgsgnode

THUMBNAIL = re.compile(r"sphx_glr_(\w+)_thumb")


def wrap(app, doctree):
    """Put each chart of an example, and each picture that is a paragraph, in a box of its own."""
    charts = list(doctree.findall(imgsgnode))
    charts += [
        paragraph
        for paragraph in doctree.findall(nodes.paragraph)
        if len(paragraph) == 1 and isinstance(paragraph[0], nodes.image)
    ]
    for node in charts:
        if not isinstance(node.parent, nodes.list_item):
            box = nodes.container("", node.deepcopy(), classes=["picture"])
            node.replace_self(box)


def name_thumbnails(app, doctree, docname):
    """sphinx-gallery leaves the alternative text of thumbnails empty."""
    for image in doctree.findall(nodes.image):
        match = THUMBNAIL.search(image["uri"])
        title = app.env.titles.get(f"gallery/{match[1]}") if match else None
        if title is not None:
            image["alt"] = title.astext()


def setup(app):
    app.connect("doctree-read", wrap)
    app.connect("doctree-resolved", name_thumbnails)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
