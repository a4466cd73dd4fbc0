"""Names of the API in running text become links to their pages.

Writing ``EmbeddingEraser`` in backticks is enough, also with its module or with a call's brackets.
"""

import re

from docutils import nodes
from sphinx.util.nodes import make_refnode

NAME = re.compile(r"(?:skdne\.)?([\w.]+)(?:\([^()]*\))?")
KINDS = {"class", "exception", "function", "data"}
PLACES = (nodes.reference, nodes.title, nodes.literal_block)  # no links within these


def public_names(env):
    """Classes, functions and data: by their last name, and with their module."""
    found = {}
    for full_name, entry in env.domains["py"].objects.items():
        if entry.objtype in KINDS:
            found[full_name.removeprefix("skdne.")] = entry
            found[full_name.rpartition(".")[2]] = entry
    return found


def link_names(app, doctree, docname):
    if docname.startswith("generated/") or docname == "api":  # numpydoc links what it should
        return
    names = public_names(app.env)
    for literal in list(doctree.findall(nodes.literal)):
        match = NAME.fullmatch(literal.astext())
        parents = []
        node = literal
        while node.parent is not None:
            node = node.parent
            parents.append(node)
        if match and match[1] in names and not any(isinstance(p, PLACES) for p in parents):
            entry = names[match[1]]
            link = make_refnode(
                app.builder, docname, entry.docname, entry.node_id, literal.deepcopy()
            )
            literal.replace_self(link)


def setup(app):
    app.connect("doctree-resolved", link_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
