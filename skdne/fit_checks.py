"""What is refused before any work, beside bad images and labels."""

from __future__ import annotations

from typing import Any

import torch

from skdne.attribute import missing_attribute
from skdne.attribute_classifier import is_differentiable, is_fitted
from skdne.encoders import Encoder, TorchBackend
from skdne.images import Images
from skdne.noise import StoredNoise
from skdne.query_estimate import QueryEstimate
from skdne.solvers import NoiseSolver


def check_solver(
    solver: NoiseSolver | None,
    encoder: Encoder,
    attribute_classifier: Any,
    sensitive_features: Any,
) -> None:
    """Refuse a solver that lacks what it needs: an attribute, gradients of phi and of g.

    Raises
    ------
    ValueError
    """
    if solver is None:
        return
    if sensitive_features is None:
        raise ValueError(missing_attribute("X", "dne") + " solver=None needs no attribute.")
    name = type(solver).__name__
    if solver.needs_gradient and not encoder.differentiable:
        raise ValueError(
            f"solver {name} needs gradients, which {type(encoder).__name__} does not give; use "
            "solver='erasure', 'gezo' or 'spsa'."
        )
    needs_g = solver.needs_gradient and solver.lowers_objective
    if needs_g and not is_differentiable(attribute_classifier):
        raise ValueError(
            f"solver {name} needs an attribute_classifier with gradients: a linear classifier or "
            f"MLPClassifier, after StandardScaler if any; got {attribute_classifier!r}. The "
            "solvers 'gezo' and 'spsa' take any classifier with predict_proba."
        )
    for option in ("refit_every", "n_iter_no_change"):
        if not getattr(solver, option) or attribute_classifier is None:
            continue
        if is_fitted(attribute_classifier):
            raise ValueError(
                f"{option} trains the attribute classifier anew, but attribute_classifier is "
                f"fitted and stays as it is; give it unfitted, or set {option}=None."
            )
    if attribute_classifier is not None and not (
        is_differentiable(attribute_classifier) or hasattr(attribute_classifier, "predict_proba")
    ):
        raise ValueError(
            f"attribute_classifier must be a scikit-learn classifier with predict_proba, got "
            f"{attribute_classifier!r}."
        )


def check_gradient(solver: NoiseSolver | None, encoder: Encoder, images: Images) -> None:
    """Refuse a module that breaks the gradient, as one under torch.no_grad() does: one image tells.

    Raises
    ------
    ValueError
    """
    if solver is None or not solver.needs_gradient or not isinstance(encoder, TorchBackend):
        return
    # a model on this machine, so this one image is not among the queries that fit counts
    image = torch.from_numpy(images.batch([0])).to(encoder.torch_device)
    with torch.enable_grad():
        has_gradient = encoder.forward(image.requires_grad_()).requires_grad
    if not has_gradient:
        raise ValueError(
            f"solver {type(solver).__name__} needs gradients, but the module of "
            f"{type(encoder).__name__} returns none (torch.no_grad() in its forward?); use "
            "solver='erasure', 'gezo' or 'spsa'."
        )


def check_early_stopping(solver: NoiseSolver | None, n_select: int) -> None:
    """Refuse to stop early where no images can be held out to tell when.

    Raises
    ------
    ValueError
    """
    if solver is not None and solver.n_iter_no_change and not n_select:
        raise ValueError(
            f"n_iter_no_change={solver.n_iter_no_change} stops by images that are held out, and a "
            "class of sensitive_features has too few for that: ten, of as many patients, are "
            "needed. Give more images, or set n_iter_no_change=None."
        )


def check_budget(max_queries: int | None, plan: QueryEstimate) -> None:
    """Refuse a budget that cannot pay for g, the least a solver needs, and the final measurements.

    Raises
    ------
    ValueError
        Before anything is sent; the message holds the plan.
    """
    if max_queries is None or max_queries >= plan.minimum:
        return
    raise ValueError(
        f"max_queries={max_queries} cannot pay for this fit. Raise it to {plan.minimum} at least, "
        f"give fewer images, or a cheaper solver. The plan:\n{plan}"
    )


def check_stored_noise(stored: StoredNoise, encoder: Encoder, name: str) -> None:
    """Refuse the noise of file ``name`` if it was learned for another encoder or image size.

    Raises
    ------
    ValueError
    """
    if stored.fingerprint not in (None, encoder.fingerprint):
        raise ValueError(
            f"the noise in {name!r} was learned for another encoder (fingerprint "
            f"{stored.fingerprint}, this one has {encoder.fingerprint}); give that one as encoder."
        )
    if encoder.input_size not in (None, stored.noise.shape[-2:]):
        raise ValueError(
            f"the noise in {name!r} has shape {stored.noise.shape}, the encoder takes images of "
            f"{encoder.input_size}; give the encoder it was learned for."
        )
