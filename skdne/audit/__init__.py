"""An audit of a classifier by group: figures, intervals, tests, leakage, fidelity, a report."""

from skdne.audit._audit import FairnessAudit
from skdne.audit._probes import attribute_leakage
from skdne.audit._scores import choose_threshold
from skdne.audit.fidelity import edit_sizes, structural_similarity
from skdne.audit.nadeau_bengio import nadeau_bengio_interval

__all__ = [
    "FairnessAudit",
    "attribute_leakage",
    "choose_threshold",
    "edit_sizes",
    "nadeau_bengio_interval",
    "structural_similarity",
]
