"""The report for people: one HTML file, pictures inside, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from skdne.audit import _pictures
from skdne.audit._input import AS_PREDICTED
from skdne.audit._style import NOTES, PAGE

if TYPE_CHECKING:
    from skdne.audit._audit import FairnessAudit


def report(audit: FairnessAudit, title: str) -> str:
    """Return the page."""
    frame, data, extras = audit.to_frame(), audit._data, audit._extras
    has_baseline = bool(frame["baseline"].notna().any())
    thresholds = list(dict.fromkeys(t for t in frame["threshold"] if t))
    captions = {t: _caption(audit, t) for t in thresholds}
    rates = [(c, _pictures.rates(frame, t), f"rates of groups, {t}") for t, c in captions.items()]
    gaps = [(c, _pictures.gaps(frame, t), f"gaps, {t}") for t, c in captions.items()]
    sections = [
        _section(
            "Performance",
            "How good the predictions are, whatever the group. Worst group accuracy is that of the "
            "worst cell of class and group.",
            [],
            _table(frame[frame["section"] == "performance"]),
        ),
        _section(
            "Gaps between groups",
            "A gap is the largest difference between any two groups. Chance alone gives one too, "
            "marked by the black tick; a gap is flagged where it is larger than chance explains, "
            "given y.",
            gaps,
            _table(frame[frame["section"].isin(["fairness", "difference"])], test=True),
        ),
        _section(
            "Rates of each group",
            "A gap also closes when the better group gets worse (levelling down): compare the "
            "groups themselves."
            if has_baseline
            else "The rates behind the gaps.",
            rates,
            _table(frame[frame["section"] == "group"]),
        ),
        _section(
            "Calibration",
            "Of the images with a forecast of 70%, do 70% have it, in every group? A calibrated "
            "classifier too has an expected calibration error above 0: see the column by chance.",
            [("", _pictures.calibration(data), "reliability of each group")],
            _table(frame[frame["section"] == "calibration"], null=True),
        ),
        _section(
            "Leakage and findings",
            "Probes trained anew on the embeddings and scored on other patients: how well each "
            "finding can be read, and the attribute among images of the same y.",
            [("", _pictures.probes(frame), "AUC of probes")],
            _table(frame[frame["section"].isin(["leakage", "finding"])]),
        ),
        _section(
            "Fidelity of the edit",
            "Means over images, in pixel units of [0, 1]; PSNR is that of the mean squared error.",
            [("", _pictures.edits(extras.originals, extras.edited), "images before and after")],
            _table(frame[frame["section"] == "fidelity"]),
        ),
    ]
    groups = "; ".join(f"{escape(g)}: {n}" for g, n in audit.groups.items())
    unit = "patients" if data.has_patients else "patients (not given: one for each image)"
    return PAGE.format(
        title=escape(title),
        facts=f"{audit.n_images} images of {audit.n_patients} {unit}. Groups: {groups}. Classes: "
        f"{escape(', '.join(map(str, audit.classes)))}"
        + (" (the last one is positive)." if len(audit.classes) == 2 else "."),
        summary=_list(audit.summary),
        warnings=_list(audit.warnings) if audit.warnings else "<p>None.</p>",
        sections="\n".join(section for section in sections if section),
        notes=NOTES.format(level=f"{audit.level:g}"),
    )


def _section(title: str, text: str, pictures: list[tuple[str, str | None, str]], table: str) -> str:
    """One part of the page; empty where there is nothing to show."""
    shown = [
        f"<figure>{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}"
        f'<img src="{png}" alt="{escape(alt)}"></figure>'
        for caption, png, alt in pictures
        if png
    ]
    if not table and not shown:
        return ""
    images = f'<div class="pictures">{"".join(shown)}</div>' if shown else ""
    return f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>{images}{table}</section>"


def _table(frame: pd.DataFrame, test: bool = False, null: bool = False) -> str:
    if not len(frame):
        return ""
    both = bool(frame["baseline"].notna().any())
    several = bool((frame["group"] != "all").any())
    at = bool((frame["threshold"] != "").any())
    head = ["figure", *["group"] * several, *["threshold"] * at, "value"]
    head += ["baseline", "difference"] * both + ["by chance"] * (test or null)
    head += ["p", ""] * test
    body = []
    for row in frame.to_dict("records"):
        cells = [str(row["figure"]), *[str(row["group"])] * several, *[str(row["threshold"])] * at]
        numbers = [_interval(row["value"], row["low"], row["high"])]
        if both:
            numbers.append(_interval(row["baseline"], row["baseline_low"], row["baseline_high"]))
            change = row["difference"], row["difference_low"], row["difference_high"]
            numbers.append(_interval(*change, sign=True))
        if test or null:
            numbers.append(_number(row["null"]))
        if test:
            p = "" if np.isnan(row["p_value"]) else f"{row['p_value']:.3f}"
            numbers += [p, '<b class="flag">flagged</b>' if row["flagged"] is True else ""]
        texts = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body.append(
            f"<tr>{texts}{''.join(f'<td class=n>{number}</td>' for number in numbers)}</tr>"
        )
    titles = "".join(
        f"<th{' class=n' if i >= 1 + several + at else ''}>{name}</th>"
        for i, name in enumerate(head)
    )
    table = f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    shown = " open" if len(frame) <= 12 else ""
    scroll = f'<div class="scroll">{table}</div>'
    return f"<details{shown}><summary>Table</summary>{scroll}</details>"


def _interval(value: float, low: float, high: float, sign: bool = False) -> str:
    if np.isnan(value):
        return "undefined"
    between = f"[{_number(low, sign)}, {_number(high, sign)}]" if low == low else "no interval"
    return f'{_number(value, sign)} <span class="i">{between}</span>'


def _number(value: float, sign: bool = False) -> str:
    if np.isnan(value):
        return ""
    if np.isinf(value):
        return "∞"
    text = f"{value:+.3f}" if sign else f"{value:.3f}"
    return text if abs(value) < 10 else f"{value:.1f}"


def _caption(audit: FairnessAudit, name: str) -> str:
    if name == AS_PREDICTED:
        return "Labels as predicted"
    value = audit.thresholds.get(name)
    return f"Threshold: {name}" + ("" if value is None else f" ({value:.3f})")


def _list(sentences: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(s)}</li>' for s in sentences)}</ul>"
