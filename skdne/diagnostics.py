"""What a fit must notice and say. Each check returns one sentence with what to do, or None."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # leakage is above this module
    from skdne.auc import Auc
    from skdne.block_power import Power
    from skdne.verdict import Verdict


MIN_CELL = 10
_NOT_THE_USER = ("skdne", "sklearn", "joblib", "contextlib")


class DebiasingWarning(UserWarning):
    """The noise, or a figure about it, is not what the user may take it for."""


def warn(problem: str | None) -> None:
    """Warn of a problem, if there is one, at the user's line."""
    if problem is None:
        return
    level = 2
    while (frame := sys._getframe(level - 1).f_back) is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_THE_USER:
            break
        level += 1
    warnings.warn(problem, DebiasingWarning, stacklevel=level + 1)


def missing_labels(n_missing: int, n: int) -> str | None:
    if not n_missing:
        return None
    return (
        f"sensitive_features is missing in {n_missing} of {n} rows; they are left out of fit; "
        "transform takes them like all others."
    )


def missing_y(n_missing: int, n: int) -> str | None:
    if not n_missing:
        return None
    return (
        f"y is missing in {n_missing} of the {n} rows that have an attribute; they are left out of "
        "fit, since the attribute cannot be balanced within a y that is not known."
    )


def small_cells(cells: np.ndarray, names: list[str]) -> str | None:
    """Cells of (y, a) that are too small to balance or to report on."""
    counts = np.bincount(cells, minlength=len(names))
    small = [
        f"{name}: {count}" for name, count in zip(names, counts, strict=True) if count < MIN_CELL
    ]
    if not small:
        return None
    listed = "; ".join(small[:5]) + ("; ..." if len(small) > 5 else "")
    return (
        f"groups with fewer than {MIN_CELL} images ({listed}) are too small for the "
        "figures of this fit; collect more, or merge groups. An empty (y, attribute) cell means "
        "that what hides the attribute may hide the disease."
    )


def no_target(y_given: bool) -> str | None:
    if y_given:
        return None
    return (
        "without classes of y the attribute is not balanced within them, and leakage_ includes "
        "what can be read of the attribute through a disease that is correlated with it. Pass y to "
        "fit where it is known."
    )


def weak_classifier(held_out: float, in_sample: float, held_out_codes: np.ndarray) -> str | None:
    """g no better than chance, or overfitted: then the fit chases noise."""
    if np.isnan(held_out):
        return None
    counts = np.bincount(held_out_codes)
    n, m = counts.max(), counts.sum() - counts.max()
    standard_error = np.sqrt((n + m + 1) / (12 * n * max(m, 1)))  # of the AUC of a coin, exactly
    if held_out < 0.5 + 1.64 * standard_error:
        return (
            f"the attribute classifier cannot be told from chance on held-out images (AUC "
            f"{held_out:.2f}): there may be nothing to hide, or too few images to see it. The "
            "noise is then arbitrary: give more images, or another attribute_classifier."
        )
    if in_sample - held_out > 0.25:
        return (
            f"the attribute classifier is overfitted (AUC {in_sample:.2f} in sample, "
            f"{held_out:.2f} held out); give a more regularised attribute_classifier, or more "
            "images."
        )
    return None


def not_lower(at_zero: float, at_noise: float) -> str | None:
    if at_noise < at_zero:
        return None
    return (
        f"the full-sample objective is {at_noise:.4g} with the learned noise and "
        f"{at_zero:.4g} without: the noise is set to zero. Try a smaller reg_lambda, another "
        "step_size, or more iterations."
    )


def signal_below_noise(gain: float, losses: np.ndarray, batch_size: int) -> str | None:
    """Zeroth-order steps on separate batches: is what they gained above the luck of a batch?"""
    spread = float(np.std(losses)) / np.sqrt(batch_size)
    if gain > spread:
        return None
    return (
        f"the zeroth-order signal is below the batch noise: the objective fell by {gain:.3g} "
        f"while it varies by {spread:.3g} (sd) between batches of {batch_size}; use "
        "shared_batch=True, larger batches, or solver='spsa'."
    )


def collapsed(clean: np.ndarray, log_p: np.ndarray, codes: np.ndarray) -> str | None:
    """All predictions of g in one class, or its cross-entropy out of bounds: Eq. 2 rewards both."""
    before, shares = (
        np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p) for p in (clean, log_p)
    )
    loss = -float(log_p[np.arange(len(codes)), codes].mean())
    if (shares.max() < 0.98 or before.max() > 0.9) and loss < 10:
        return None
    return (
        f"on edited images the attribute classifier predicts one class for {shares.max():.0%} and "
        f"its cross-entropy is {loss:.1f} nats: it is fooled by a mere shift, which a re-trained "
        "classifier undoes. Try objective='confusion', which does not reward that, and read "
        "leakage_."
    )


def still_leaking(
    leakage: dict[str, dict[str, Auc]], seen_before: float, seen_after: float
) -> str | None:
    """g is fooled, re-trained probes are not; or they are on the images of the fit alone."""
    worst = max(leakage, key=lambda name: leakage[name]["after"].auc)
    before = max(found["before"].auc for found in leakage.values())
    after = leakage[worst]["after"]
    if np.isnan(after.auc) or after.low < 0.5 or before - after.auc > 0.5 * (before - 0.5):
        return None
    sentence = (
        f"the attribute is still readable: a re-trained {worst} probe reaches AUC {after.auc:.2f} "
        f"[{after.low:.2f}, {after.high:.2f}] on held-out edited images (best probe before: "
        f"{before:.2f})."
    )
    if seen_before - seen_after > max(0.1, before - after.auc + 0.1):
        sentence += (
            f" On the images of the fit it fell from {seen_before:.2f} to {seen_after:.2f}: the "
            "noise does not generalise; use more images or a larger reg_lambda."
        )
    return sentence + (
        " Fooling one classifier removes nothing by itself; try solver='erasure', which looks for "
        "the places that tell the attribute, or reweigh the head."
    )


def not_removed(verdict: Verdict | None) -> str | None:
    """The verdict of a solver that erases, where it falls short."""
    if verdict is None or verdict.outcome in ("removed", "nothing to remove"):
        return None
    advice = {
        "undetermined": "Give more images of every (y, attribute) cell.",
        "reduced": "More images narrow the interval; smaller blocks may find a rest.",
    }.get(
        verdict.outcome,
        "Embedding-space erasure (EmbeddingEraser) lowers what a linear probe reads; for fair "
        "predictions alone, reweigh the head.",
    )
    return f"attribute {verdict}. {advice}".replace("..", ".")


def nearly_affine(clean: np.ndarray, edited: np.ndarray) -> str | None:
    """phi(x + eps) - phi(x) the same for all x: no head trained anew can notice the noise."""
    shift = edited.astype(np.float64) - clean
    size = float(np.square(shift).sum())
    varying = float(np.square(shift - shift.mean(axis=0)).sum())
    scale = float(np.square(clean - clean.mean(axis=0)).sum())
    if size <= 1e-10 * scale or varying > 1e-4 * size:
        return None
    return (
        "the encoder is (almost) affine: the noise moves every embedding by the same vector, which "
        "the intercept of any re-trained head absorbs, so nothing about fairness changes. Use "
        "clip=True on the solver, or an embedding-space method."
    )


def large_noise(l2: float, linf: float, psnr: float) -> str | None:
    if psnr >= 20:
        return None
    return (
        f"the noise is large against the pixel range (PSNR {psnr:.1f} dB, L2 norm {l2:.1f}, "
        f"largest value {linf:.2f}): look at edit(X); a larger reg_lambda or a radius keeps it "
        "smaller, or a smaller max_area where blocks are erased."
    )


def no_held_out(codes: np.ndarray) -> str:
    return (
        f"the smallest attribute class has {np.bincount(codes).min()} images, of too few patients "
        "to hold any out (ten are needed): all are used for the fit, and leakage_ is empty. "
        "Give more images to have it measured."
    )


def no_power(power: tuple[Power, Power | None] | None) -> str | None:
    """Before a search: can its tests find anything, whatever the images show?"""
    if power is None:
        return None
    blocks, left = power
    if not blocks.can_show:
        return (
            "too few patients to search with: the smallest p-value that permutations of the "
            f"attribute can give is {blocks.smallest_p:.2g}, and a block is erased from "
            f"{blocks.level:.2g} on, so that nothing can be found, whatever the images show. Give "
            "images of more patients in every (y, attribute) cell."
        )
    if left is not None and not left.can_show:
        return (
            "too few patients to test what is left once blocks are erased: the smallest p-value "
            f"that permutations can give is {left.smallest_p:.2g}, and the test needs "
            f"{left.level:.2g}. stop_reason_ will be 'not tested'. A block alone is found, in four "
            f"of five cases, if it can be read at AUC {blocks.detectable_auc:.2f}. Give images of "
            "more patients in every (y, attribute) cell."
        )
    return None


def budget_spent(limit: int | None, n_epochs: int) -> str:
    return (
        f"max_queries={limit} ended the noise fit in epoch {n_epochs}; the noise reached so far is "
        "kept. Raise max_queries, or lower the solver's cost for each epoch."
    )
