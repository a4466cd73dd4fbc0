"""The systems of the table: how each gets its embeddings, and which head reads them.

A head is trained by the papers' recipe on embeddings as they are ("papers"), or to convergence on
standardised ones ("converged"). Systems that are a way of training a head have one of their own for
each recipe. On fewer images than the papers' the recipe runs for as many steps as theirs, else it
would end before the head has learned anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skdne import Adam, DebiasedNoiseTransformer, EmbeddingEraser, GeZO
from skdne.baselines import (
    BatchSamplingClassifier,
    BiasAdvClassifier,
    CorrelationRemoverTransformer,
    ExponentiatedGradientClassifier,
    GroupDROClassifier,
    LinearHeadClassifier,
    ReweighedClassifier,
    SketchTransformer,
    ThresholdOptimizerClassifier,
)
from skdne.encoders import Encoder
from skdne.experiments._released import ReleasedAdam, ReleasedGeZO
from skdne.experiments._tasks import Part

HEADS = ("papers", "converged")
MODES = ("as-printed", "as-released")
N_PAPERS = 4650  # images that the papers train on for Pneumonia, 50 epochs


@dataclasses.dataclass
class Setting:
    """One draw of a task, and what all systems share on it."""

    encoder: Encoder
    train: Part
    test: Part
    seed: int
    mode: str
    embed: Callable[..., tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass
class Edited:
    """Embeddings of both parts, or the images where a system wants those, and what they took."""

    train: Any
    test: Any
    n_queries: int = 0
    transformer: DebiasedNoiseTransformer | None = None


@dataclasses.dataclass(frozen=True)
class System:
    """A row of the table.

    Parameters
    ----------
    edit : callable
        From a Setting the embeddings (:class:`Edited`).
    head : callable or None
        From a recipe and a Setting the classifier; None takes the plain head of the recipe.
    heads : tuple of str
        The recipes there are.
    on_images : bool
        The head takes images.
    needs_attribute : bool
        The attribute of new patients is needed to predict.
    in_papers : str or None
        Name of the row in the papers' table.
    """

    edit: Callable[[Setting], Edited]
    head: Callable[[str, Setting], Any] | None = None
    heads: tuple[str, ...] = HEADS
    on_images: bool = False
    needs_attribute: bool = False
    in_papers: str | None = None


def recipe_of(name: str, n: int) -> dict[str, Any]:
    """Parameters of a head that is trained by steps, for n training images."""
    if name == "converged":
        return {"step_size": 0.01, "max_iter": 200}
    return {"max_iter": max(50, round(50 * N_PAPERS / n))}


def plain_head(recipe: str, s: Setting) -> Any:
    """The head of a recipe; "converged" expects standardised embeddings."""
    if recipe == "papers":
        return LinearHeadClassifier(random_state=s.seed, **recipe_of(recipe, len(s.train.y)))
    return LogisticRegression(max_iter=2000)


def trained_by(kind: type, **parameters: Any) -> Callable[[str, Setting], Any]:
    """A head with a way of training of its own."""

    def head(recipe: str, s: Setting) -> Any:
        return kind(random_state=s.seed, **parameters, **recipe_of(recipe, len(s.train.y)))

    return head


def bias_adv(recipe: str, s: Setting) -> BiasAdvClassifier:
    """BiasAdv by the papers' recipe; on images, through the encoder of the others."""
    steps = recipe_of(recipe, len(s.train.y))
    return BiasAdvClassifier(s.encoder, random_state=s.seed, **steps)


def clean(s: Setting) -> Edited:
    """phi(x)."""
    return Edited(*s.embed(None))


def sketch(s: Setting) -> Edited:
    """phi of a line drawing."""
    drawing = SketchTransformer(input_size=s.encoder.input_size).fit(s.train.X)
    return Edited(*s.embed(drawing))


def images(s: Setting) -> Edited:
    """x itself."""
    return Edited(s.train.X, s.test.X)


def noise(**parameters: Any) -> Callable[[Setting], Edited]:
    """phi(x + eps), with eps learned on the training part; a solver may depend on the mode."""

    def edit(s: Setting) -> Edited:
        of_mode = {name: v[s.mode] if isinstance(v, dict) else v for name, v in parameters.items()}
        dne = DebiasedNoiseTransformer(s.encoder, leakage=False, random_state=s.seed, **of_mode)
        dne.fit(s.train.X, s.train.y, sensitive_features=s.train.a, groups=s.train.groups)
        return Edited(*s.embed(dne), dne.n_queries_, dne)

    return edit


def erased(eraser: Callable[[], Any]) -> Callable[[Setting], Edited]:
    """Embeddings without what an eraser takes out of them."""

    def edit(s: Setting) -> Edited:
        Z_train, Z_test = s.embed(None)
        fitted = eraser().fit(Z_train, s.train.y, sensitive_features=s.train.a)
        return Edited(fitted.transform(Z_train), fitted.transform(Z_test))

    return edit


def correlation_removed(s: Setting) -> Edited:
    """Embeddings without their correlation with the attribute, which must be known at test."""
    Z_train, Z_test = s.embed(None)
    remover = CorrelationRemoverTransformer().fit(Z_train, sensitive_features=s.train.a)
    return Edited(
        remover.transform(Z_train, sensitive_features=s.train.a),
        remover.transform(Z_test, sensitive_features=s.test.a),
    )


ADAM = {
    "as-printed": Adam(),
    "as-released": ReleasedAdam(step_size=5e-5, max_iter=25, batch_size=128),
}
ALGORITHM_1 = {
    "max_iter": 50,
    "step_size": 0.01,
    "n_local_iter": 10,
    "n_directions": 5,
    "momentum": 0.9,
    "decay": 0.95,
    "batch_size": 64,
    "shared_batch": False,
    "grid_size": None,
}
GEZO = {
    "as-printed": GeZO(**ALGORITHM_1),
    "as-released": ReleasedGeZO(max_iter=50, n_directions=10, grid_size=None, batch_size=128),
}
LAMBDA = {"as-printed": 0.01, "as-released": 0.001}

SYSTEMS = {
    "ERM": System(clean, in_papers="ERM"),
    "Sketch (XDoG)": System(sketch, in_papers="Sketch"),
    "Group DRO": System(clean, trained_by(GroupDROClassifier), in_papers="Group DRO"),
    "Batch Sampling (a)": System(
        clean, trained_by(BatchSamplingClassifier, strata="a"), in_papers="Batch Sampling"
    ),
    "Batch Sampling (y, a)": System(clean, trained_by(BatchSamplingClassifier, strata="ya")),
    "BiasAdv": System(
        images,
        bias_adv,
        heads=("papers",),
        on_images=True,
        in_papers="BiasAdv",
    ),
    "DNE, Adam": System(noise(solver=ADAM, reg_lambda=LAMBDA), in_papers="DNE"),
    "DNE, GeZO": System(noise(solver=GEZO, reg_lambda=LAMBDA), in_papers="DNE-GeZO"),
    "DNE, erasure (default)": System(noise()),
    "reweighing": System(clean, lambda recipe, s: ReweighedClassifier(plain_head(recipe, s))),
    "LEACE": System(erased(EmbeddingEraser)),
    "PLS 8 + LEACE": System(erased(lambda: EmbeddingEraser(n_components=8))),
    "exponentiated gradient": System(
        clean,
        lambda recipe, s: ExponentiatedGradientClassifier(
            plain_head(recipe, s), random_state=s.seed
        ),
        heads=("converged",),
    ),
    "threshold optimizer *": System(
        clean,
        lambda recipe, s: ThresholdOptimizerClassifier(plain_head(recipe, s), random_state=s.seed),
        needs_attribute=True,
    ),
    "correlation remover *": System(correlation_removed, needs_attribute=True),
}


def predict(system: System, edited: Edited, s: Setting, recipe: str) -> tuple[Any, Any]:
    """Train the head on the training part; labels and scores, if any, of the test part."""
    Z_train, Z_test = edited.train, edited.test
    if recipe == "converged" and not system.on_images:
        scaler = StandardScaler().fit(Z_train)
        Z_train, Z_test = scaler.transform(Z_train), scaler.transform(Z_test)
    head = (system.head or plain_head)(recipe, s)
    at_fit = {"sensitive_features": s.train.a} if _asks(head, "fit") else {}
    head.fit(Z_train, s.train.y, **at_fit)
    at_test = {"sensitive_features": s.test.a} if _asks(head, "predict") else {}
    labels = head.predict(Z_test, **at_test)
    if hasattr(head, "decision_function"):
        return labels, head.decision_function(Z_test)
    if hasattr(head, "predict_proba") and not at_test:
        return labels, head.predict_proba(Z_test)[:, 1]
    return labels, None  # randomised thresholds have no score


def _asks(head: Any, method: str) -> bool:
    """Whether a classifier takes ``sensitive_features`` in this method."""
    return "sensitive_features" in signature(getattr(head, method)).parameters
