"""The verdict: what a fit did to the attribute, in plain words, from the report set alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdne.leakage import Auc

REMOVED = 0.60  # upper 95% bound of every probe below this
EVERYWHERE = {  # reasons to stop that say so
    "max_area": "the attribute shows in more of the image than may be erased (max_area)",
    "not located": "the attribute shows, but at no one place whose erasure would take it away",
}


class Verdict(NamedTuple):
    """Outcome and reason.

    Parameters
    ----------
    outcome : str
        ``"removed"``: the upper 95% bound of every probe is below .60. ``"reduced"``: the
        intervals of the worst probe before and after do not overlap. ``"not removable without
        losing content"``: the attribute shows in more of the image than the solver may erase, or
        at no one place, or a finding was lost with it. ``"not removed"``: it is as readable as
        before. ``"undetermined"``: too few images to say. ``"nothing to remove"``: no probe read
        the attribute before the edit.
    reason : str
        The figures, in a sentence.
    """

    outcome: str
    reason: str

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}"


def judge(
    leakage: dict[str, dict[str, Auc]],
    findings: dict[str, dict[str, Auc]],
    n_report: int,
    stop_reason: str,
) -> Verdict:
    """Decide by the rules that :class:`Verdict` lists.

    Parameters
    ----------
    leakage, findings : dict
        Of each probe, and each finding, ``"before"`` and ``"after"`` the edit.
    n_report : int
        Images of the report set.
    stop_reason : str
        Why the noise fit ended.
    """
    if not leakage:
        return Verdict(
            "undetermined", "leakage was not measured, or too few images to hold any out."
        )
    before = max((found["before"] for found in leakage.values()), key=_auc)
    worst = max(leakage, key=lambda name: _auc(leakage[name]["after"]))
    after = leakage[worst]["after"]
    before_high, after_high = (
        max(found[side].high for found in leakage.values()) for side in ("before", "after")
    )
    lost = [name for name, found in findings.items() if found["after"].high < found["before"].auc]
    sentence = (
        f"of three probes trained anew, the worst ({worst}) reads the attribute at AUC "
        f"{_text(after)}; before the edit {_text(before)}. {n_report} held-out images."
    )
    for name, found in findings.items():
        sentence += (
            f" AUC of {name}: {found['before'].auc:.2f} before, {found['after'].auc:.2f} after."
        )
    if lost:
        sentence += f" Content was lost: {', '.join(lost)}."
    if before_high < REMOVED:
        return Verdict("nothing to remove", sentence)
    if after_high < REMOVED:
        return Verdict("removed", sentence)
    if stop_reason in EVERYWHERE and after.low > 0.5 and not after.high < before.low:
        return Verdict(
            "not removable without losing content", f"{EVERYWHERE[stop_reason]}; {sentence}"
        )
    if after.high < before.low:
        return Verdict("not removable without losing content" if lost else "reduced", sentence)
    if after.low > 0.5 and after.auc >= before.low:
        return Verdict("not removed", sentence)
    return Verdict("undetermined", sentence + " That is too few to say more.")


def _auc(found: Auc) -> float:
    return -np.inf if np.isnan(found.auc) else found.auc


def _text(found: Auc) -> str:
    return f"{found.auc:.2f} (95% interval {found.low:.2f} to {found.high:.2f})"
