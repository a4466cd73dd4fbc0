"""What an audit must notice and say. Each check returns one sentence, or None."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skdne import diagnostics
from skdne.audit._figures import Figures, Key
from skdne.audit._input import AuditData, at_threshold


def check_predictions(data: AuditData) -> list[str | None]:
    """One class for all, and scores worse than the prevalence."""
    found: list[str | None] = []
    truth = np.bincount(data.y, minlength=len(data.classes)) / len(data.y)
    for threshold, labels in data.predictions.labels.items():
        shares = np.bincount(labels, minlength=len(data.classes)) / len(labels)
        if shares.max() >= 0.98 and truth.max() < 0.95:
            found.append(
                f"the classifier predicts {data.classes[int(shares.argmax())]!r} for "
                f"{shares.max():.0%} of the images{at_threshold(threshold)}; small gaps between "
                "groups then mean nothing."
            )
    if data.predictions.probabilities:
        assert data.predictions.scores is not None
        p = np.clip(data.predictions.scores[np.arange(len(data.y)), data.y], 1e-15, 1)
        loss, entropy = -np.log(p).mean(), -(truth[truth > 0] * np.log(truth[truth > 0])).sum()
        if loss > entropy:
            found.append(
                f"the cross-entropy of the scores is {loss:.2f} nats, worse than the "
                f"{entropy:.2f} of forecasting the prevalence for everybody: they are not "
                "probabilities; calibrate the classifier before a threshold is set on them."
            )
    return found


def check_change(frame: pd.DataFrame, classes: int) -> list[str | None]:
    """A gap that closed by levelling down, or with the AUC at chance."""
    found: list[str | None] = []
    rates = {"EO_p": "true positive rate", "EO_n": "true negative rate"}
    for row in _records(frame[frame["section"] == "fairness"]):
        label = row["figure"]
        rate = rates.get(label, label.replace("EO (", "recall (") if classes > 2 else "")
        if not row["difference_high"] < 0 or not rate.startswith(("true", "recall")):
            continue
        at = (frame["threshold"] == row["threshold"]) & (frame["figure"] == rate)
        groups = frame[at & (frame["section"] == "group")]
        if groups["value"].min() <= groups["baseline"].min():
            found.append(
                f"{label}{at_threshold(row['threshold'])} fell from {row['baseline']:.2f} to "
                f"{row['value']:.2f} by levelling down: the worst group's {rate} did not rise "
                f"({groups['baseline'].min():.2f} before, {groups['value'].min():.2f} after)."
            )
        found.append(_auc_at_chance(frame, label))
    return list(dict.fromkeys(found))


def _auc_at_chance(frame: pd.DataFrame, label: str) -> str | None:
    aucs = frame[(frame["section"] == "performance") & (frame["figure"] == "AUC")]
    for auc in _records(aucs):
        if auc["low"] <= 0.5 < auc["baseline_low"]:
            return (
                f"{label} improved, but the AUC of the disease went to chance: "
                f"{auc['value']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}], before "
                f"{auc['baseline']:.2f}."
            )
    return None


def check_leakage(frame: pd.DataFrame) -> list[str | None]:
    """The attribute is still read; or was never."""
    rows = _records(frame[frame["section"] == "leakage"].dropna(subset=["value", "baseline"]))
    if rows:
        worst = max(rows, key=lambda row: row["value"])
        best_before = max(rows, key=lambda row: row["baseline"])
        if best_before["baseline_low"] <= 0.5:
            return [
                "no probe reads the attribute from the unedited embeddings beyond chance (best "
                f"{best_before['figure']}: AUC {best_before['baseline']:.2f}): there is nothing to "
                "hide, or too few images to see it."
            ]
        before = best_before["baseline"]
        if worst["low"] > 0.5 and before - worst["value"] <= 0.5 * (before - 0.5):
            return [
                f"the attribute is still readable: a re-trained {worst['figure']} reaches AUC "
                f"{worst['value']:.2f} [{worst['low']:.2f}, {worst['high']:.2f}] (best probe "
                f"without the edit: {before:.2f})."
            ]
    return []


def check_transformer(transformer: Any, frame: pd.DataFrame) -> list[str | None]:
    """What the fit of the noise tells: nothing learned, or leakage that did not hold up."""
    found: list[str | None] = []
    if not transformer.noise_.any():
        found.append("the noise is zero: the images are not edited.")
    own = {n: v["after"].auc for n, v in getattr(transformer, "leakage_", {}).items()}
    rows = _records(frame[frame["section"] == "leakage"].dropna(subset=["value"]))
    if own and rows:
        worst = max(rows, key=lambda row: row["value"])
        if worst["low"] > max(own.values()):
            found.append(
                f"on the images of its fit the edit left a leakage of {max(own.values()):.2f} "
                f"(leakage_), here it is {worst['value']:.2f} [{worst['low']:.2f}, "
                f"{worst['high']:.2f}]: the edit does not generalise to these images."
            )
    return found


def check_embeddings(before: NDArray[Any] | None, after: NDArray[Any] | None) -> str | None:
    """An encoder for which the edit is a mere shift."""
    if before is None or after is None or before.shape != after.shape:
        return None
    return diagnostics.nearly_affine(before, after)


def check_fidelity(figures: Figures) -> str | None:
    """An edit that is large against the pixel range."""
    if Key("fidelity", "L2") not in figures:
        return None
    values = [figures[Key("fidelity", n)].draws[0] for n in ("L2", "L-infinity", "PSNR (dB)")]
    return diagnostics.large_noise(*(float(v) for v in values))


def undefined(frame: pd.DataFrame) -> str | None:
    """Figures without a value, or without an interval."""
    sentences = []
    for column, what in (("value", "undefined (nan)"), ("low", "without an interval (nan)")):
        missing = frame[frame[column].isna() & (frame["value"].notna() | (column == "value"))]
        if len(missing):
            names = list(
                dict.fromkeys(
                    row["figure"] + (f" of {row['group']}" if row["group"] != "all" else "")
                    for row in _records(missing)
                )
            )
            listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if names[6:] else "")
            sentences.append(f"{what}: {listed}")
    if not sentences:
        return None
    return "; ".join(sentences) + ". A group lacks images of some class, or has a rate of 0."


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
