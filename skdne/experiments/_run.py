"""Running systems on tasks, seed by seed; a run that was stopped goes on where it was."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from skdne import DebiasedNoiseTransformer, DebiasingWarning
from skdne.audit import attribute_leakage
from skdne.encoders import Encoder
from skdne.experiments._systems import Edited, Setting, System, predict
from skdne.experiments._tasks import Part, Task
from skdne.metrics import (
    disparate_impact,
    equal_opportunity_difference,
    true_positive_rate_ratio_gap,
    worst_group_accuracy,
)

MIN_PATIENTS = 5  # of a class, to cross-fit probes
KEY = ["task", "seed", "system", "head"]
# every row has every column, or the columns of the file would not match
NO_LEAKAGE = dict.fromkeys(("linear probe", "rbf probe", "mlp probe"), np.nan)


def run(
    tasks: Sequence[Task],
    systems: dict[str, System],
    encoder: Encoder,
    *,
    n_seeds: int,
    heads: Sequence[str],
    mode: str,
    out: Path,
) -> pd.DataFrame:
    """Run what is not in ``out/results.csv`` yet, and return all rows of these tasks and systems.

    Parameters
    ----------
    tasks : list of Task
    systems : dict of str to System
    encoder : Encoder
    n_seeds : int
    heads : list of {"papers", "converged"}
    mode : {"as-printed", "as-released"}
    out : Path
        Results, embeddings and noises are kept here.

    Returns
    -------
    DataFrame
        One row for each task, seed, system and head.
    """
    file = out / "results.csv"
    embed_cached = joblib.Memory(out / "embeddings", verbose=0).cache(embed, ignore=["encoder"])
    (out / "noises").mkdir(parents=True, exist_ok=True)
    done = set(_read(file).index)
    for task in tasks:
        for seed in range(n_seeds):
            wanted = {
                name: [
                    head
                    for head in heads
                    if head in system.heads and (task.name, seed, name, head) not in done
                ]
                for name, system in systems.items()
            }
            if not any(wanted.values()):
                continue
            train, test = task.draw(seed)

            def both(edit: Any, train: Part = train, test: Part = test) -> tuple[Any, Any]:
                images = [train.X, test.X]
                if edit is not None and not hasattr(edit, "noise_"):  # a drawing
                    images, edit = [edit.transform(X) for X in images], None
                noise, clip = (None, False) if edit is None else (edit.noise_, edit.clip_)
                Z = [embed_cached(encoder, encoder.fingerprint, noise, clip, X) for X in images]
                return Z[0], Z[1]

            setting = Setting(encoder, train, test, seed, mode, both)
            leaks: dict[bytes, dict[str, float]] = {}
            for name in [name for name in systems if wanted[name]]:
                rows = _rows(
                    systems[name], wanted[name], setting, leaks, out, f"{task.name} {name}"
                )
                for row in rows:
                    key = {"task": task.name, "seed": seed, "system": name}
                    frame = pd.DataFrame(
                        [{**key, **row, "n_train": len(train.y), "n_test": len(test.y)}]
                    )
                    frame.to_csv(file, mode="a", index=False, header=not file.exists())
                print(f"{task.name}, seed {seed}: {name} ({rows[0]['seconds']:.0f} s)", flush=True)
    found = _read(file)
    names = [task.name for task in tasks]
    levels = [found.index.get_level_values(level) for level in KEY]
    kept = levels[0].isin(names) & (levels[1] < n_seeds) & levels[2].isin(list(systems))
    return found[kept & levels[3].isin(heads)]


def embed(encoder: Encoder, fingerprint: str, noise: Any, clip: bool, X: Any) -> np.ndarray:
    """phi(x + eps); the fingerprint names the encoder in the cache."""
    plain = DebiasedNoiseTransformer(encoder, solver=None).fit(X[:1])
    if noise is not None:
        plain.noise_, plain.clip_ = noise, clip
    return plain.transform(X)


def _rows(
    system: System,
    heads: Sequence[str],
    setting: Setting,
    leaks: dict[bytes, dict[str, float]],
    out: Path,
    name: str,
) -> list[dict[str, Any]]:
    """The figures of one system, one row for each head."""
    start = time.perf_counter()
    test = setting.test
    with warnings.catch_warnings():
        for kind in (DebiasingWarning, UndefinedMetricWarning):  # what they say is in the figures
            warnings.simplefilter("ignore", kind)
        edited = system.edit(setting)
        leakage = NO_LEAKAGE if system.on_images else _leakage(edited, setting, leaks)
        if edited.transformer is not None:
            stem = re.sub(r"\W+", "_", f"{name} {setting.seed}").lower()
            edited.transformer.save_noise(out / "noises" / f"{stem}.safetensors")
        rows = []
        for head in heads:
            labels, scores = predict(system, edited, setting, head)
            by_group = {"sensitive_features": test.a}
            figures = {
                "accuracy": accuracy_score(test.y, labels),
                "balanced accuracy": balanced_accuracy_score(test.y, labels),
                "AUC": np.nan if scores is None else roc_auc_score(test.y, scores),
                "EO_p": equal_opportunity_difference(test.y, labels, **by_group),
                "EO_n": equal_opportunity_difference(test.y, labels, positive_label=0, **by_group),
                "|1-DI|": disparate_impact(test.y, labels, **by_group),
                "|1-DI| as coded": true_positive_rate_ratio_gap(test.y, labels, **by_group),
                "worst group": worst_group_accuracy(test.y, labels, **by_group),
            }
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "head": head,
                    **figures,
                    **leakage,
                    "queries": edited.n_queries,
                    "seconds": seconds,
                }
            )
    return rows


def _leakage(
    edited: Edited, setting: Setting, leaks: dict[bytes, dict[str, float]]
) -> dict[str, float]:
    """AUC of probes trained anew on the test part; systems that share embeddings share it."""
    test = setting.test
    if min(len(np.unique(test.groups[test.a == k])) for k in np.unique(test.a)) < MIN_PATIENTS:
        return NO_LEAKAGE
    key = np.ascontiguousarray(edited.test).tobytes()
    if key not in leaks:
        found = attribute_leakage(
            edited.test,
            sensitive_features=test.a,
            y=test.y,
            groups=test.groups,
            random_state=setting.seed,
        )
        leaks[key] = {f"{name} probe": auc.auc for name, auc in found.items()}
    return leaks[key]


def _read(file: Path) -> pd.DataFrame:
    if not file.exists():
        return pd.DataFrame(columns=KEY).set_index(KEY)
    return pd.read_csv(file).set_index(KEY)
