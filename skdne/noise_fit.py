"""The fit, step by step: three sets, clean embeddings, g, the solver, the measurements."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from skdne import diagnostics
from skdne.attribute import SensitiveData
from skdne.attribute_classifier import AttributeClassifier
from skdne.auc import Auc, Change, conditional_auc
from skdne.budget import BudgetExhaustedError, QueryBudget
from skdne.canary import Canary
from skdne.distributed import check_same_fit
from skdne.embedding import embed_images
from skdne.encoders import Encoder
from skdne.findings import measure_findings
from skdne.fit_checks import check_budget, check_early_stopping
from skdne.images import Images
from skdne.leakage import in_sample_auc, measure_leakage
from skdne.noise import add_noise
from skdne.objective import Objective, attribute_loss
from skdne.query_estimate import QueryEstimate, plan_queries
from skdne.solvers import GeZO, NoiseSolver
from skdne.solvers._block_samples import Labels
from skdne.splits import ThreeSets, three_sets
from skdne.verdict import Verdict, judge

OnEpoch = Callable[[np.ndarray, list[float], np.ndarray, QueryBudget], bool]


@dataclasses.dataclass
class FitResult:
    """What a fit found; the transformer's fitted attributes of the same names say what each is."""

    noise: np.ndarray
    n_features: int
    attribute_classifier: Any = None
    attribute_auc: float = np.nan
    loss_curve: list[float] = dataclasses.field(default_factory=list)
    stop_reason: str = "no solver"
    leakage: dict[str, dict[str, Auc]] = dataclasses.field(default_factory=dict)
    objective: dict[str, float] = dataclasses.field(default_factory=dict)
    noise_size: dict[str, float] = dataclasses.field(default_factory=dict)
    blocks: pd.DataFrame | None = None
    findings: dict[str, dict[str, Auc | Change]] = dataclasses.field(default_factory=dict)
    verdict: Verdict | None = None
    n_queries: int = 0
    n_sent: int = 0
    canary: np.ndarray | None = None


def plan_fit(
    encoder: Encoder,
    images: Images,
    data: SensitiveData | None,
    solver: NoiseSolver | None,
    leakage: bool,
    max_queries: int | None,
    seed: int,
) -> tuple[ThreeSets | None, QueryEstimate]:
    """Part the SA images into three sets and count what the fit will send; nothing is sent yet.

    Raises
    ------
    ValueError
        If ``max_queries`` cannot pay for it, or nothing can be held out to stop early by.
    """
    if data is None:
        sets, plan = None, plan_queries(None, encoder, images.shape, 1)
    else:
        sets = three_sets(data.cells, data.codes, data.groups, leakage, seed)
        check_early_stopping(solver, len(sets.select))
        sizes = len(data.rows), len(sets.fit), len(sets.select)
        plan = plan_queries(solver, encoder, images.shape, *sizes)
    check_budget(max_queries, plan)
    return sets, plan


def without_attribute(encoder: Encoder, images: Images, max_queries: int | None) -> FitResult:
    """Return the result of ``solver=None`` without an attribute; one image tells the width."""
    budget = QueryBudget(max_queries)
    canary = Canary(encoder, images.shape, budget)
    n_features = _clean(encoder, images, np.arange(1), canary).shape[1]
    result = FitResult(np.zeros(images.shape[1:], np.float32), n_features)
    return _account(result, budget, canary)


def fit_noise(
    encoder: Encoder,
    images: Images,
    data: SensitiveData,
    sets: ThreeSets,
    solver: NoiseSolver | None,
    *,
    objective: str,
    reg_lambda: float,
    attribute_classifier: Any,
    max_queries: int | None,
    seed: int,
    findings: dict[str, np.ndarray],
    on_epoch: OnEpoch,
) -> FitResult:
    """Learn the noise on the SA images and measure what it does.

    Parameters
    ----------
    images : Images
        The images of X; those of ``data.rows`` are used.
    findings : dict of str to ndarray of shape (n,)
        Class indices, -1 where missing.
    on_epoch : callable
        Gets the noise, the loss curve, the rows of the selection set and the budget; True stops the
        fit.

    See :class:`~skdne.DebiasedNoiseTransformer` for the others.
    """
    check_same_fit(seed, images.shape, data.rows, data.codes)
    diagnostics.warn(diagnostics.small_cells(data.cells, data.cell_names))
    if not len(sets.select):
        diagnostics.warn(diagnostics.no_held_out(data.codes))
    if solver is not None:
        fit, select = (_labels(data, rows) for rows in (sets.fit, sets.select))
        power = solver.power(fit, select if len(select) else None, images.shape, encoder, seed)
        diagnostics.warn(diagnostics.no_power(power))
    budget = QueryBudget(max_queries)
    canary = Canary(encoder, images.shape, budget)
    clean = _clean(encoder, images, data.rows, canary)

    g = AttributeClassifier(attribute_classifier, data.classes)
    g.fit(clean[sets.fit], data.codes[sets.fit], data.weights[sets.fit])
    held_out, in_sample = (_auc_of(g, clean, data, rows) for rows in (sets.select, sets.fit))
    uses_g = solver is None or solver.lowers_objective
    if uses_g:
        diagnostics.warn(diagnostics.weak_classifier(held_out, in_sample, data.codes[sets.select]))

    result = FitResult(
        noise=np.zeros(images.shape[1:], dtype=np.float32),
        attribute_classifier=g.estimator,
        attribute_auc=held_out,
        n_features=clean.shape[1],
    )
    edited: np.ndarray | None = clean
    if solver is not None:
        # the noise is fitted on a copy of g, which a solver may re-train; g itself judges it
        def objective_over(rows: np.ndarray, selection: Objective | None = None) -> Objective:
            return Objective(
                encoder,
                images,
                data.rows[rows],
                data.codes[rows],
                data.weights[rows],
                copy.copy(g),
                solver.space(images.shape),
                objective=objective,
                reg_lambda=reg_lambda,
                clip=solver.clip,
                budget=budget,
                strata=None if data.strata is None else data.strata[rows],
                groups=None if data.groups is None else data.groups[rows],
                selection=selection,
                canary=canary,
            )

        L = objective_over(sets.fit, objective_over(sets.select) if len(sets.select) else None)
        edited = _minimize(result, L, solver, g, clean, data, sets, seed, canary, on_epoch)
        result.noise_size = noise_size(images, data.rows, result.noise, solver.clip)
        if uses_g:  # erased blocks are meant to be seen
            diagnostics.warn(diagnostics.large_noise(**result.noise_size))
    if sets.report_folds and edited is not None:
        _report(result, clean, edited, data, sets, findings, solver, seed)
    return _account(result, budget, canary)


def _clean(encoder: Encoder, images: Images, rows: np.ndarray, canary: Canary) -> np.ndarray:
    """phi(x) of these rows, after a first look at the canary."""
    budget = canary.budget
    try:
        canary.check()
        return embed_images(encoder, images, None, False, rows, budget)
    except BudgetExhaustedError as error:  # the plan pays for it, if nothing is sent twice
        raise BudgetExhaustedError(
            f"max_queries={budget.limit} was used up before the noise fit began, since the service "
            "failed so often that images had to be sent again. Raise max_queries; with a store on "
            "the encoder the next fit need not pay for these images once more."
        ) from error


def _account(result: FitResult, budget: QueryBudget, canary: Canary) -> FitResult:
    result.n_queries, result.n_sent = budget.spent, budget.sent
    result.canary = canary.reference
    return result


def _report(
    result: FitResult,
    clean: np.ndarray,
    edited: np.ndarray,
    data: SensitiveData,
    sets: ThreeSets,
    findings: dict[str, np.ndarray],
    solver: NoiseSolver | None,
    seed: int,
) -> None:
    """Measure leakage and findings on the report set, read once, and judge."""
    diagnostics.warn(diagnostics.no_target(data.strata is not None))
    codes = {name: of_all[data.rows] for name, of_all in findings.items()}
    before = after = measure_leakage(clean, data, sets, seed)
    if edited is not clean:
        after = measure_leakage(edited, data, sets, seed)
    result.leakage = {name: {"before": was, "after": after[name]} for name, was in before.items()}
    result.findings = measure_findings(clean, edited, codes, data, sets, seed)
    if solver is not None:
        result.verdict = judge(
            result.leakage, result.findings, len(sets.report), result.stop_reason
        )
    if solver is not None and not solver.lowers_objective:
        diagnostics.warn(diagnostics.not_removed(result.verdict))
    elif result.noise.any():
        seen = [in_sample_auc(z, data, sets, seed) for z in (clean, edited)]
        diagnostics.warn(diagnostics.still_leaking(result.leakage, seen[0], seen[1]))


def _minimize(
    result: FitResult,
    L: Objective,
    solver: NoiseSolver,
    g: AttributeClassifier,
    clean: np.ndarray,
    data: SensitiveData,
    sets: ThreeSets,
    seed: int,
    canary: Canary,
    on_epoch: OnEpoch,
) -> np.ndarray | None:
    """Run the solver, keep its noise if it is better than none, return phi(x + eps).

    None where the service failed so often that the budget ended before all was embedded.
    """
    budget = L.budget
    budget.reserve(len(clean) + canary.cost)

    def report_epoch(theta: torch.Tensor, loss_curve: list[float]) -> bool:
        canary.check()
        noise, held_out = _image_shaped(L.space.expand(theta)), data.rows[sets.select]
        return on_epoch(noise, loss_curve, held_out, budget)

    solution = solver.minimize(L, seed, report_epoch)
    budget.release()
    result.loss_curve, result.stop_reason = solution.loss_curve, solution.stop_reason
    result.blocks = solution.blocks
    if solution.stop_reason == "max_queries":
        diagnostics.warn(diagnostics.budget_spent(budget.limit, len(solution.loss_curve)))

    noise = L.space.expand(solution.theta).detach()
    if not noise.any() and (not solver.lowers_objective or solution.stop_reason == "max_queries"):
        return clean  # nothing to pay for
    try:
        canary.check()
        edited = embed_images(L.encoder, L.images, noise, L.clip, data.rows, budget)
    except BudgetExhaustedError:
        diagnostics.warn(
            f"max_queries={budget.limit} was used up before the noise could be judged, since the "
            "service failed so often that images had to be sent again. The noise is kept as the "
            "solver left it, leakage_ is empty. With a store on the encoder and a larger "
            "max_queries the fit goes on from here."
        )
        result.noise = _image_shaped(noise)
        return None
    judge, judged = g, sets.fit
    if solver.refit_every:  # each noise is judged by the g trained on what it leaves, held out
        judge = copy.copy(g)
        judge.fit(edited[sets.fit], L.codes, L.weights)
        judged = sets.select if len(sets.select) else sets.fit
    at_zero, at_noise = (
        L.value_of_embeddings(h, z[judged], data.codes[judged], data.weights[judged], eps)
        for h, z, eps in ((g, clean, torch.zeros_like(noise)), (judge, edited, noise))
    )
    result.objective = {"zero": at_zero, "noise": at_noise}
    if not solver.lowers_objective:
        result.noise = _image_shaped(noise)
        return edited
    if isinstance(solver, GeZO) and not solver.shared_batch:
        clean_log_p = g.log_proba(torch.from_numpy(clean[sets.fit]))
        losses = attribute_loss(clean_log_p, torch.from_numpy(L.codes), L.objective).numpy()
        diagnostics.warn(
            diagnostics.signal_below_noise(at_zero - at_noise, losses, solver.batch_size)
        )
    problem = diagnostics.not_lower(at_zero, at_noise)
    if problem is not None:
        diagnostics.warn(problem)
        result.noise = np.zeros_like(_image_shaped(noise))
        return clean
    diagnostics.warn(diagnostics.nearly_affine(clean, edited))
    if not solver.refit_every:  # a g trained anew on edited images cannot be fooled by a shift
        before, after = (g.log_proba(torch.from_numpy(z)).numpy() for z in (clean, edited))
        diagnostics.warn(diagnostics.collapsed(before, after, data.codes))
    result.noise = _image_shaped(noise)
    return edited


def noise_size(
    images: Images, rows: np.ndarray, noise: np.ndarray, clip: bool, n_images: int = 64
) -> dict[str, float]:
    """L2 and L-infinity norm of the noise, and the PSNR (dB) of the first edited images."""
    batch = torch.from_numpy(images.batch(rows[:n_images]))
    error = float((add_noise(batch, torch.from_numpy(noise), clip) - batch).square().mean())
    return {
        "l2": float(np.linalg.norm(noise)),
        "linf": float(np.abs(noise).max()),
        "psnr": float(-10 * np.log10(error)) if error > 0 else np.inf,
    }


def _labels(data: SensitiveData, rows: np.ndarray) -> Labels:
    strata, groups = (None if of is None else of[rows] for of in (data.strata, data.groups))
    return Labels(data.codes[rows], strata, groups)


def _auc_of(
    g: AttributeClassifier, embeddings: np.ndarray, data: SensitiveData, rows: np.ndarray
) -> float:
    if not len(rows):
        return np.nan
    scores = g.log_proba(torch.from_numpy(embeddings[rows])).numpy()
    strata = None if data.strata is None else data.strata[rows]
    return conditional_auc(data.codes[rows], scores, strata)


def _image_shaped(noise: torch.Tensor) -> np.ndarray:
    """One shared plane as (H, W), planes of channels as (C, H, W)."""
    array = noise.detach().numpy().astype(np.float32)
    return array[0].copy() if len(array) == 1 else array
