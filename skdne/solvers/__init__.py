"""Solvers: each minimises the objective over the noise and knows nothing else."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from skdne.solvers._adam import Adam
from skdne.solvers._base import NoiseSolver
from skdne.solvers._erasure import BlockErasure
from skdne.solvers._gates import GatedErasure
from skdne.solvers._gezo import GeZO
from skdne.solvers._spsa import SPSA

__all__ = ["SPSA", "Adam", "BlockErasure", "GatedErasure", "GeZO", "NoiseSolver", "as_solver"]

SOLVERS = {"adam": Adam, "erasure": BlockErasure, "gates": GatedErasure, "gezo": GeZO, "spsa": SPSA}


def as_solver(solver: Any) -> NoiseSolver | None:
    """Return a fresh solver for the ``solver`` parameter: a name, a solver object, or None.

    Parameters
    ----------
    solver : str, NoiseSolver or None
        None stands for no noise.

    Returns
    -------
    NoiseSolver or None
        A clone, with its options checked.

    Raises
    ------
    ValueError
        For an unknown name; the message lists the names.
    """
    if solver is None:
        return None
    if isinstance(solver, NoiseSolver):
        solver = clone(solver)
    elif isinstance(solver, str) and solver in SOLVERS:
        solver = SOLVERS[solver]()
    else:
        raise ValueError(
            f"solver must be one of {sorted(SOLVERS)}, a solver object such as Adam(max_iter=20), "
            f"or None for no noise; got {solver!r}."
        )
    solver.validate()
    return solver
