"""The papers' table, ablations and pictures, in one command.

    python -m skdne.experiments.paper                                     # synthetic images
    python -m skdne.experiments.paper --data CHEXPERT --encoder vit_base_patch16_224 \\
        --checkpoint vit-b_CXR_0.5M_mae_pretrain.pth                      # the papers' setting
    python -m skdne.experiments.paper --data NIH                          # NIH ChestX-ray14

Rows go to ``--out`` as they are measured: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.base import clone

from skdne import Adam, GeZO
from skdne.baselines import BiasAdvClassifier
from skdne.experiments._encoders import encoder_named
from skdne.experiments._pictures import draw_ablation, draw_frontier, draw_noises
from skdne.experiments._run import run
from skdne.experiments._systems import (
    ALGORITHM_1,
    GEZO,
    HEADS,
    LAMBDA,
    MODES,
    SYSTEMS,
    Setting,
    System,
    noise,
)
from skdne.experiments._tables import against_erm, beside_papers, table
from skdne.experiments._tasks import Task, real_tasks, synthetic_tasks

LAMBDAS = (0.0, 0.001, 0.01, 0.1, 1.0)
LOCAL_ITERATIONS = (2, 5, 10, 20)


def ablations(max_iter: int) -> dict[str, dict[str, System]]:
    """The systems of Fig. 2a, lambda of DNE by Adam, and Fig. 2b, R of DNE by GeZO."""
    gezo: dict[str, Any] = {**ALGORITHM_1, "max_iter": max_iter}
    return {
        "lambda": {
            f"lambda = {value:g}": System(noise(solver=Adam(), reg_lambda=value))
            for value in LAMBDAS
        },
        "R": {
            f"R = {R}": System(noise(solver=GeZO(**{**gezo, "n_local_iter": R}), reg_lambda=0.01))
            for R in LOCAL_ITERATIONS
        },
    }


def small(systems: dict[str, System]) -> dict[str, System]:
    """The same, with less of the two that cost thousands of passes through the encoder.

    GeZO gets 2 epochs. BiasAdv gets 5, in which the papers' step size would train nothing: it
    takes that of the converged heads, on standardised embeddings and in small batches.
    """
    gezo = {mode: clone(solver).set_params(max_iter=2) for mode, solver in GEZO.items()}

    def bias_adv(_: str, s: Setting) -> BiasAdvClassifier:
        fast = {"max_iter": 5, "step_size": 0.01, "batch_size": 16, "standardize": True}
        return BiasAdvClassifier(s.encoder, random_state=s.seed, **fast)

    shrunk: dict[str, dict[str, Any]] = {
        "DNE, GeZO": {"edit": noise(solver=gezo, reg_lambda=LAMBDA)},
        "BiasAdv": {"head": bias_adv, "heads": ("converged",)},
    }
    return {
        name: dataclasses.replace(system, **shrunk.get(name, {}))
        for name, system in systems.items()
    }


def report(found: pd.DataFrame, tasks: Sequence[Task], systems: dict[str, System]) -> None:
    """Print the tables of each task and head."""
    names = {name: s.in_papers for name, s in systems.items() if s.in_papers}
    for task in tasks:
        for head in HEADS:
            keys = [found.index.get_level_values(level) for level in ("task", "head")]
            rows = found[(keys[0] == task.name) & (keys[1] == head)]
            if rows.empty:
                continue
            n_seeds = rows.index.get_level_values("seed").nunique()
            kind = "re-splits of one data set, Nadeau-Bengio" if task.resplits else "seeds, t"
            print(f"\n{task.name}, head {head!r}: mean and 95% interval over {n_seeds} {kind}\n")
            print(table(rows, task.resplits).rename_axis(None).to_string())
            if n_seeds > 1 and "ERM" in rows.index.get_level_values("system"):
                print("\nDifference to ERM, seed by seed\n")
                print(against_erm(rows, task.resplits).rename_axis(None).to_string())
            beside = beside_papers(rows, task.name, names) if head == "papers" else None
            if beside is not None:
                print("\nBeside the papers' table, percent\n")
                print(beside.rename_axis(None).to_string())
    if any(system.needs_attribute for system in systems.values()):
        print("\n* needs the attribute of new patients to predict.")
    print("Probes: AUC of the attribute, trained anew on the test embeddings; .5 is chance.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, run, print, draw."""
    parser = argparse.ArgumentParser(
        prog="python -m skdne.experiments.paper", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, help="CheXpert or NIH folder; default: synthetic")
    parser.add_argument(
        "--encoder", default="bundled", help="bundled, linear, conv, or a name of timm"
    )
    parser.add_argument("--checkpoint", type=Path, help="weights of --encoder")
    parser.add_argument("--pooling", choices=["avg", "token"], default="avg")
    parser.add_argument("--n", type=int, default=400, help="synthetic training images")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="of the papers' counts on CheXpert; on NIH the largest that supplies all --seeds",
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--mode", choices=MODES, default="as-printed", help="settings of DNE")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--tasks", nargs="+", help="names; default: all")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), metavar="SYSTEM")
    parser.add_argument("--small", action="store_true", help="2 epochs of GeZO, 5 of BiasAdv")
    parser.add_argument("--ablations", action="store_true", help="also lambda and R (Fig. 2)")
    parser.add_argument(
        "--pictures", action="store_true", help="also noises, edits (Figs. 3, 4) and frontiers"
    )
    parser.add_argument("--out", type=Path, default=Path("paper_output"))
    args = parser.parse_args(arguments)

    encoder = encoder_named(args.encoder, args.checkpoint, args.pooling)
    encoder.load()
    if args.data is None:
        tasks = synthetic_tasks(args.n)
    else:
        tasks = real_tasks(args.data, args.scale, args.seeds)
    if args.tasks:
        known = [task.name for task in tasks]
        if unknown := sorted(set(args.tasks) - set(known)):
            parser.error(f"--tasks: no task {unknown}; there are {known}")
        tasks = [task for task in tasks if task.name in args.tasks]
    for task in tasks:
        task.check(args.seeds)
    systems = {name: SYSTEMS[name] for name in args.systems or SYSTEMS}
    if args.small:
        systems = small(systems)
    common = {"n_seeds": args.seeds, "mode": args.mode, "out": args.out}
    args.out.mkdir(parents=True, exist_ok=True)
    check_settings(args, tasks[0].scale)
    found = run(tasks, systems, encoder, heads=args.heads, **common)
    report(found, tasks, systems)
    if args.ablations:
        for name, variants in ablations(2 if args.small else 50).items():
            rows = run(tasks[:1], variants, encoder, heads=["converged"], **common)
            report(rows, tasks[:1], variants)
            print(f"wrote {draw_ablation(rows, found, tasks[0].name, name, args.out)}")
    if args.pictures:
        paths = draw_noises(tasks, encoder, args.out)
        measured = set(zip(*map(found.index.get_level_values, ("task", "head")), strict=True))
        for task in tasks:
            heads = [head for head in HEADS if (task.name, head) in measured]
            paths += [draw_frontier(found, task, head, args.out) for head in heads]
        for path in paths:
            print(f"wrote {path}")


def check_settings(args: argparse.Namespace, scale: float) -> None:
    """Refuse a folder that holds results of other settings: rows of both would mix."""
    settings = {
        name: str(value)
        for name, value in {**vars(args), "scale": scale}.items()
        if name in ("data", "encoder", "checkpoint", "pooling", "n", "scale", "mode", "small")
    }
    file = args.out / "settings.csv"
    if file.exists():
        before = pd.read_csv(file, dtype=str, keep_default_na=False).iloc[0].to_dict()
        changed = [name for name, value in settings.items() if before.get(name) != value]
        if changed:
            raise SystemExit(
                f"{args.out} holds results with other settings of {changed}: give another --out."
            )
    pd.DataFrame([settings]).to_csv(file, index=False)


if __name__ == "__main__":
    main()
