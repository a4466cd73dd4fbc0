"""The audit in a few plain sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skdne.audit._input import AS_PREDICTED, at_threshold

Row = dict[str, Any]


def summary(frame: pd.DataFrame, level: float) -> list[str]:
    """Sentences on performance, gaps, change against the baseline, leakage and fidelity."""
    rows: list[Row] = [
        {str(k): v for k, v in row.items()} for row in frame.to_dict(orient="records")
    ]
    return [
        *_performance(rows),
        *_gaps(rows, level),
        *_change(rows),
        *_leakage(rows),
        *_fidelity(rows),
    ]


def _performance(rows: list[Row]) -> list[str]:
    names = ("AUC", "accuracy", "balanced accuracy", "worst group accuracy")
    said, first = [], _first_threshold(rows)
    for name in names:
        for row in _of(rows, "performance", name):
            if row["threshold"] in ("", first):
                said.append(f"{name} {_text(row)}")
    at = f" ({first})" if first == AS_PREDICTED else f" (threshold: {first})" if first else ""
    return [f"Performance{at}: {'; '.join(said)}."]


def _gaps(rows: list[Row], level: float) -> list[str]:
    tested = [r for r in rows if r["section"] == "fairness" and not pd.isna(r["p_value"])]
    flagged = [r for r in tested if r["flagged"]]
    first = _first_threshold(rows)
    named = [r for r in flagged if r["threshold"] in ("", first)]
    sentences = []
    for row in named:
        if row["figure"] == "equalized odds" and any(r["figure"][:2] == "EO" for r in named):
            continue  # it is the larger of gaps that are named
        sentences.append(
            f"Flagged: {row['figure']}{at_threshold(row['threshold'])} is {_text(row)}, where "
            f"chance alone would give {row['null']:.2f} (p = {row['p_value']:.3f})."
            f"{_who(rows, row)}"
        )
    others = [r["figure"] + at_threshold(r["threshold"]) for r in flagged if r not in named]
    if others:
        sentences.append(f"Flagged {'too' if named else 'only'}: {', '.join(others)}.")
    quiet = len(tested) - len(flagged)
    if tested and not flagged:
        widest = max(tested, key=lambda r: r["high"] if np.isfinite(r["high"]) else 0)
        sentences.append(
            f"None of the {quiet} gaps between groups that were tested is beyond chance (level "
            f"{level:g} for all together). That is no proof of fairness: with these images "
            f"{widest['figure']} may be as large as {widest['high']:.2f}."
        )
    elif quiet:
        of = "The other gap tested is" if quiet == 1 else f"The other {quiet} gaps tested are"
        sentences.append(f"{of} within chance.")
    if not tested:
        sentences.append("No gap between groups could be tested.")
    return sentences


def _who(rows: list[Row], gap: Row) -> str:
    """Which groups make the gap."""
    rate = {"EO_p": "true positive rate", "EO_n": "true negative rate", "|1-DI|": "selection rate"}
    name = rate.get(gap["figure"])
    if name is None:
        return ""
    groups = [r for r in _of(rows, "group", name) if r["threshold"] == gap["threshold"]]
    low, high = min(groups, key=lambda r: r["value"]), max(groups, key=lambda r: r["value"])
    return (
        f" The {name} is lowest for {low['group']} ({low['value']:.2f}) and highest for "
        f"{high['group']} ({high['value']:.2f})."
    )


def _change(rows: list[Row]) -> list[str]:
    """Paired differences beyond their intervals, at the first threshold."""
    first = _first_threshold(rows)
    sides: dict[str, list[str]] = {"Better": [], "Worse": []}
    compared = False
    for row in rows:
        gap = row["section"] == "fairness"
        if row["threshold"] not in ("", first) or not (gap or row["section"] == "performance"):
            continue
        compared |= not np.isnan(row["difference"])
        if row["difference_high"] < 0 or row["difference_low"] > 0:
            sides["Better" if (row["difference"] < 0) == gap else "Worse"].append(
                f"{row['figure']} {row['baseline']:.2f} to {row['value']:.2f} "
                f"({row['difference']:+.2f} [{row['difference_low']:+.2f}, "
                f"{row['difference_high']:+.2f}])"
            )
    if compared and not any(sides.values()):
        return ["No difference to the baseline is beyond its interval."]
    return [f"{side} than the baseline: {'; '.join(of)}." for side, of in sides.items() if of]


def _leakage(rows: list[Row]) -> list[str]:
    probes = [r for r in rows if r["section"] == "leakage" and not np.isnan(r["value"])]
    if not probes:
        return []
    worst = max(probes, key=lambda r: r["value"])
    before = [r["baseline"] for r in probes if not np.isnan(r["baseline"])]
    was = f"; best probe without the edit: {max(before):.2f}" if before else ""
    return [
        f"Leakage: the {worst['figure']}, trained anew, reads the attribute at AUC "
        f"{_text(worst)}; .5 is chance{was}."
    ]


def _fidelity(rows: list[Row]) -> list[str]:
    found = {r["figure"]: r["value"] for r in rows if r["section"] == "fidelity"}
    if not found:
        return []
    if np.isinf(found["PSNR (dB)"]):
        return ["Fidelity: the images are not edited."]
    return [
        "Fidelity of the edit: "
        + ", ".join(f"{name} {value:.3g}" for name, value in found.items())
        + "."
    ]


def _of(rows: list[Row], section: str, figure: str) -> list[Row]:
    return [r for r in rows if r["section"] == section and r["figure"] == figure]


def _first_threshold(rows: list[Row]) -> str:
    return next((r["threshold"] for r in rows if r["threshold"]), "")


def _text(row: Row) -> str:
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
