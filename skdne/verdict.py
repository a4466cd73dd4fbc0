"""The verdict: what a fit did to the attribute, in plain words, from the report set alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skdne.auc import Auc

REMOVED = 0.60  # upper 95% bound of every probe below this
WORTH_NAMING = 0.01  # a smaller fall of a finding's AUC is not called a loss
EVERYWHERE = {  # reasons to stop that say so
    "max_area": "the attribute shows in more of the image than may be erased (max_area)",
    "not located": "the attribute shows, but at no one place whose erasure would take it away",
}


class Verdict(NamedTuple):
    """Outcome and reason.

    Parameters
    ----------
    outcome : str
        The first of these that holds:

        - ``"undetermined"``: nothing could be measured.
        - ``"nothing to remove"``: no probe read the attribute before the edit; the upper 95% bound
          of each is below .60.
        - ``"not removable without losing content"``: the attribute was removed or reduced, as
          below, and a finding was lost with it: the interval of its change lies below 0, and its
          AUC fell by .01 or more. Also where the attribute is still read because it shows in more
          of the image than the solver may erase, or at no one place.
        - ``"removed"``: the upper 95% bound of every probe is below .60.
        - ``"reduced"``: the intervals of the worst probe before and after do not overlap.
        - ``"not removed"``: it is as readable as before.
        - ``"undetermined"``: too few images to say.
    reason : str
        The figures, in a sentence.
    """

    outcome: str
    reason: str

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}"


def judge(
    leakage: dict[str, dict[str, Auc]],
    findings: dict[str, dict[str, Any]],
    n_report: int,
    stop_reason: str,
) -> Verdict:
    """Decide by the rules that :class:`Verdict` lists.

    Parameters
    ----------
    leakage, findings : dict
        Of each probe, and each finding, ``"before"`` and ``"after"`` the edit; of the findings also
        the ``"change"``.
    n_report : int
        Images of the report set.
    stop_reason : str
        Why the noise fit ended.
    """
    if not leakage:
        return Verdict(
            "undetermined", "leakage was not measured, or too few images to hold any out."
        )
    if all(np.isnan(found[side].auc) for found in leakage.values() for side in found):
        return Verdict(
            "undetermined",
            f"of the {n_report} held-out images no two have the same y and another attribute, so "
            "that what tells the attribute cannot be told from what tells y.",
        )
    before = max((found["before"] for found in leakage.values()), key=_auc)
    worst = max(leakage, key=lambda name: _auc(leakage[name]["after"]))
    after = leakage[worst]["after"]
    before_high, after_high = (
        max(found[side].high for found in leakage.values()) for side in ("before", "after")
    )
    lost = lost_findings(findings)
    sentence = (
        f"of three probes trained anew, the worst ({worst}) reads the attribute at AUC "
        f"{_text(after)}; before the edit {_text(before)}. {n_report} held-out images."
    )
    for name, found in findings.items():
        sentence += (
            f" AUC of {name} within groups of the attribute: {found['before'].auc:.2f} before, "
            f"{found['after'].auc:.2f} after."
        )
    if lost:
        sentence += f" Content was lost: {', '.join(lost)}."
    removed, reduced = after_high < REMOVED, after.high < before.low
    if before_high < REMOVED:
        return Verdict("nothing to remove", sentence)
    if lost and (removed or reduced):
        return Verdict("not removable without losing content", sentence)
    if removed:
        return Verdict("removed", sentence)
    if reduced:
        return Verdict("reduced", sentence)
    if stop_reason in EVERYWHERE and after.low > 0.5:
        return Verdict(
            "not removable without losing content", f"{EVERYWHERE[stop_reason]}; {sentence}"
        )
    if after.low > 0.5 and after.auc >= before.low:
        return Verdict("not removed", sentence)
    return Verdict("undetermined", sentence + " That is too few to say more.")


def lost_findings(findings: dict[str, dict[str, Any]]) -> list[str]:
    """Names of the findings that the edit took with it, by the rule of :class:`Verdict`."""
    changes = {name: found["change"] for name, found in findings.items()}
    return [name for name, c in changes.items() if c.high < 0 and c.change <= -WORTH_NAMING]


def _auc(found: Auc) -> float:
    return -np.inf if np.isnan(found.auc) else found.auc


def _text(found: Auc) -> str:
    return f"{found.auc:.2f} (95% interval {found.low:.2f} to {found.high:.2f})"
