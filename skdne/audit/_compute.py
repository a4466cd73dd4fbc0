"""From checked input to the table and the warnings of an audit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from skdne.attribute import SensitiveData, check_sensitive_data
from skdne.audit import _probes, _warnings
from skdne.audit._figures import Figures, Key, Measured, classifier_figures, unfairness_tests
from skdne.audit._input import AuditData
from skdne.audit._resampling import bootstrap_patients, permute_attribute
from skdne.audit._table import fidelity_figures, table
from skdne.findings import check_findings


@dataclasses.dataclass(frozen=True)
class Options:
    """Level of the tests, numbers of resamples, and the seed."""

    level: float
    n_bootstrap: int
    n_permutations: int
    random_state: Any

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie in (0, 1), got {self.level!r}.")
        for name in ("n_bootstrap", "n_permutations"):
            if getattr(self, name) < 20:
                raise ValueError(f"{name} must be 20 or more, got {getattr(self, name)!r}.")
        if (self.n_permutations + 1) * self.level < 1:
            raise ValueError(
                f"n_permutations={self.n_permutations} can never give a p-value of {self.level}: "
                f"raise it to {int(np.ceil(1 / self.level))} or more."
            )


@dataclasses.dataclass
class Extras:
    """What may stand beside the predictions."""

    embeddings: Any = None
    baseline_embeddings: Any = None
    findings: Any = None
    originals: Any = None
    edited: Any = None
    image_rows: Any = None  # of the originals; all, where None
    transformer: Any = None


def compute(data: AuditData, extras: Extras, options: Options) -> tuple[pd.DataFrame, list[str]]:
    """All figures, and what must be said of them."""
    seed = int(check_random_state(options.random_state).randint(np.iinfo(np.int32).max))
    boot = bootstrap_patients(data.n_patients, options.n_bootstrap, seed)
    after = classifier_figures(data, data.predictions, boot, seed)
    before: Figures = {}
    if data.baseline is not None:
        before = classifier_figures(data, data.baseline, boot, seed)
    permuted = permute_attribute(data.a, data.y, data.patients, options.n_permutations, seed + 1)
    tests = unfairness_tests(data, permuted, options.level)
    said = list(data.warnings)
    for side, figures in zip((after, before), _probed(data, extras, said, seed), strict=True):
        side |= figures
    if extras.originals is not None:
        rows = slice(None) if extras.image_rows is None else extras.image_rows
        after |= fidelity_figures(extras.originals, extras.edited, data.patients[rows], boot)
    frame = table(after, before, tests)
    checks = [
        *_warnings.check_predictions(data),
        *_warnings.check_change(frame, len(data.classes)),
        *_warnings.check_leakage(frame),
        _warnings.check_embeddings(extras.baseline_embeddings, extras.embeddings),
        _warnings.check_fidelity(after),
        _warnings.undefined(frame),
    ]
    if extras.transformer is not None:
        checks += _warnings.check_transformer(extras.transformer, frame)
    return frame, said + [sentence for sentence in checks if sentence]


def _probed(data: AuditData, extras: Extras, said: list[str], seed: int) -> tuple[Figures, Figures]:
    """Leakage and findings, of the embeddings and of those without the edit."""
    sides: tuple[Figures, Figures] = ({}, {})
    if extras.embeddings is None:
        return sides
    sensitive = check_sensitive_data(data.a, data.y, data.patients, len(data.y))
    folds = _probes.folds_by_patient(sensitive, seed)
    if folds is None:
        said.append(f"leakage is not measured: a group has fewer than {_probes.N_FOLDS} patients.")
        return sides
    codes = {"y": data.y} | {
        name: column[data.rows]
        for name, column in check_findings(None, extras.findings, _n_rows(extras.findings)).items()
    }
    for side, Z in zip(sides, (extras.embeddings, extras.baseline_embeddings), strict=True):
        if Z is not None:
            side |= _probe_figures(Z, codes, sensitive, folds, seed)
    left_out = [name for name in codes if Key("finding", name) not in sides[0]]
    if left_out:
        said.append(f"findings with too few cases are left out: {', '.join(left_out)}.")
    return sides


def _probe_figures(
    Z: Any, codes: dict[str, Any], data: SensitiveData, folds: list[Any], seed: int
) -> Figures:
    found: Figures = {}
    scored = {
        Key("leakage", f"{name} probe"): of_probe
        for name, of_probe in _probes.leakage(Z, data, folds, seed).items()
    }
    for name, of_finding in _probes.findings(Z, codes, data, folds, seed).items():
        scored[Key("finding", name)] = of_finding
    for key, one in scored.items():
        _, low, high = one.auc()
        found[key] = Measured(one.resampled(seed), (low, high), len(one.codes), 0.5)
    return found


def _n_rows(findings: Any) -> int:
    return 0 if findings is None else len(findings)
