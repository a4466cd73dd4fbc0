"""DebiasedNoiseTransformer: learn a noise that hides an attribute; embed images with it."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skdne.attribute import check_sensitive_data
from skdne.budget import QueryBudget
from skdne.canary import Canary
from skdne.embedding import embed_images
from skdne.encoders import as_encoder
from skdne.findings import check_findings
from skdne.fit_checks import check_gradient, check_solver
from skdne.image_input import ImageInputMixin
from skdne.noise import add_noise
from skdne.noise_files import NoiseFileMixin
from skdne.noise_fit import FitResult, fit_noise, plan_fit, without_attribute
from skdne.objective import OBJECTIVES
from skdne.query_estimate import QueryEstimateMixin
from skdne.solvers import as_solver


class DebiasedNoiseTransformer(
    NoiseFileMixin,
    QueryEstimateMixin,
    ImageInputMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Embed images with one learned additive noise that hides a sensitive attribute.

    ``fit`` learns the noise eps on images with a sensitive attribute (SA); ``transform`` returns
    phi(x + eps) for any images. The encoder phi is never changed. The edit *mitigates* a shortcut;
    how much is in ``leakage_``, and a fit that reached little says so.

    Parameters
    ----------
    encoder : None, str or Encoder, default=None
        phi. A timm name, an encoder object, or None for the small bundled encoder.
    solver : str, NoiseSolver or None, default="erasure"
        ``"erasure"`` and ``"gates"`` find the blocks of the image that tell the attribute and
        erase them (:class:`BlockErasure`, :class:`GatedErasure`); ``"adam"``, ``"gezo"`` and
        ``"spsa"`` minimise ``objective``, the papers' way. ``"gates"`` and ``"adam"`` need
        gradients, the others only embeddings. A solver object such as ``Adam(clip=True)`` sets
        its options, which can then be searched (``dne__solver__step_size``). None learns no noise:
        the control arm of a search.
    objective : {"cross_entropy", "confusion"}, default="cross_entropy"
        ``"cross_entropy"`` is the papers' Eq. 2; ``"confusion"`` minimises the cross-entropy of g
        to the uniform distribution, which cannot run away. Not used where blocks are erased.
    reg_lambda : float, default=0.01
        Weight of ``||eps||_2``, at least 0.
    attribute_classifier : scikit-learn classifier or None, default=None
        g. None is a linear head on standardised embeddings. A fitted one is used as it is; inside
        a pipeline or search wrap it in :class:`~sklearn.frozen.FrozenEstimator`. The gradient
        solvers take linear classifiers and MLPClassifier, the others any with ``predict_proba``.
    image_shape : tuple of int or None, default=None
        Shape of an image where X holds flat rows; (H, W), (C, H, W) or (H, W, C).
    leakage : bool, default=True
        Measure ``leakage_``; it takes 30% of the SA images away from the fit.
    subsample : int or None, default=10_000
        Most SA images that fit uses, at least 20, for the noise and to measure what it does; of
        more it draws so many, each (y, attribute) cell in proportion. So neither what a fit costs
        nor its memory grows with n. None uses all.
    max_queries : int or None, default=None
        Most images that fit may send to the encoder, all included, also those sent again.
    random_state : int, RandomState instance or None, default=None
        Seeds the splits, the solver and the probes. An int repeats results to the bit on a CPU.

    Attributes
    ----------
    noise_ : ndarray of shape (H, W) or (C, H, W), float32
        eps, in pixel units of [0, 1], at the encoder's input size.
    clip_ : bool
        Whether ``transform`` clips x + eps to [0, 1].
    leakage_ : dict
        ``{"linear" | "rbf" | "mlp": {"before" | "after": (auc, low, high)}}``: AUC of probes of the
        attribute trained anew, with 95% intervals, on patients the noise has not seen; within
        classes of y where y was given. Empty without ``leakage`` or where images are too few.
    findings_ : dict
        ``{name: {"before" | "after": (auc, low, high), "change": (change, low, high)}}``: AUC of a
        linear probe of each column of y and of ``findings``, trained anew, on the same patients,
        among images of the same group of the attribute, and how it changed. Within a group a
        shortcut tells nothing, so to take it away is no loss.
    verdict_ : Verdict or None
        ``outcome``, such as ``"removed"`` or ``"reduced"``, and ``reason``, from the two above;
        None where ``leakage_`` is empty.
    blocks_ : DataFrame or None
        For the solvers that erase: a row for each block with ``top``, ``left``, ``size``, the
        ``auc`` of the best probe if it was shown alone, its ``p_value`` corrected for the number of
        blocks, and whether it was ``erased``.
    loss_curve_ : list of float
        Mean objective of each epoch; AUCs where blocks are erased.
    objective_ : dict
        Objective over all fit images without the noise (``"zero"``) and with the learned one
        (``"noise"``), which is kept only if lower. With ``refit_every`` on the solver: over the
        selection set, each with a g trained on the embeddings in question.
    noise_size_ : dict
        ``"l2"`` and ``"linf"`` norm, and ``"psnr"`` of edited images in dB.
    attribute_classifier_ : classifier
        g, fitted on clean embeddings.
    attribute_auc_ : float
        AUC of g on held-out images.
    classes_ : ndarray
        Classes of the attribute.
    n_iter_ : int
        Epochs run.
    query_plan_ : QueryEstimate
        What fit planned to send, as :meth:`estimate_queries` says it beforehand.
    n_queries_ : int
        Images that fit had embedded; a budget that ends a fit ends it at the same number each time.
    n_sent_ : int
        Images that fit sent to the encoder: without what its store knew, with what was sent again.
    canary_ : ndarray of shape (4, d) or None
        Embeddings of four fixed images, by which a remote encoder is recognised before transform.
    stop_reason_ : str
        Why the noise fit ended: ``"max_iter"``, ``"callback"``, ``"max_queries"``, ``"no solver"``,
        ``"no_change"``: the solver's ``n_iter_no_change`` ended it;
        of a solver that erases also ``"converged"``: the attribute is not read on the selection
        set; ``"not tested"``: that set is empty, or so small that no test could find anything;
        ``"max_area"``: it shows in more of the image than may be erased; ``"not located"``: it
        is still read, and no place was found that tells it.
    n_features_in_ : int
        Size of the second axis of X, where X is an array.

    Notes
    -----
    Images with an attribute are parted by patient into three sets, to fit the noise, for callbacks
    that stop (50%, 20%) and to report on (30%). Where y is given it only balances: every
    (y, attribute) cell weighs the same, lest the disease be hidden with the attribute.

    References
    ----------
    Jin, Deng, Chen, Li 2024, "Debiased Noise Editing on Foundation Models for Fair Medical Image
    Classification" (MICCAI), Eq. 1; the same authors' "Universal Debiased Editing", Eq. 2.

    Examples
    --------
    >>> from skdne import Adam, DebiasedNoiseTransformer
    >>> from skdne.datasets import make_biased_images
    >>> data = make_biased_images(120, correlation=0, random_state=0)
    >>> dne = DebiasedNoiseTransformer(
    ...     solver=Adam(step_size=0.002, max_iter=3),
    ...     objective="confusion",
    ...     leakage=False,
    ...     random_state=0,
    ... )
    >>> Z = dne.fit_transform(data.images, data.target, sensitive_features=data.sensitive_features)
    >>> Z.shape
    (120, 512)
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {
        "sensitive_features": True,
        "groups": True,
        "findings": True,
    }

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "objective": [StrOptions(set(OBJECTIVES))],
        "reg_lambda": [Interval(Real, 0, None, closed="left")],
        "leakage": ["boolean"],
        "subsample": [Interval(Integral, 20, None, closed="left"), None],
        "max_queries": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        encoder=None,
        *,
        solver="erasure",
        objective="cross_entropy",
        reg_lambda=0.01,
        attribute_classifier=None,
        image_shape=None,
        leakage=True,
        subsample=10_000,
        max_queries=None,
        random_state=None,
    ):
        self.encoder = encoder
        self.solver = solver
        self.objective = objective
        self.reg_lambda = reg_lambda
        self.attribute_classifier = attribute_classifier
        self.image_shape = image_shape
        self.leakage = leakage
        self.subsample = subsample
        self.max_queries = max_queries
        self.random_state = random_state

    @with_callbacks
    def fit(self, X, y=None, *, sensitive_features=None, groups=None, findings=None) -> Self:
        """Learn the noise.

        Parameters
        ----------
        X : array of images, of flat rows, or file paths, n of them
            See :mod:`skdne.images`.
        y : array-like of shape (n,) or None, default=None
            Classes of the disease; only used to balance the (y, attribute) cells. Rows where it
            is missing are left out.
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute, matched to X by position; several columns are intersected. Rows where
            it is missing are left out.
        groups : array-like of shape (n,) or None, default=None
            Patients: images of one patient are never parted. A search parts patients by its own
            splitter, which must be one for groups, such as StratifiedGroupKFold.
        findings : array-like of shape (n, k), DataFrame or None, default=None
            Other labels that the edit should not cost, one column each, NaN where unknown. They
            are only measured, in ``findings_``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad input, or a ``max_queries`` that cannot pay for it, before anything is sent.
        EncoderChangedError
            If the model behind a remote encoder changed on the way.
        BudgetExhaustedError
            If a service failed so often that ``max_queries`` was used up before the noise fit.

        Warns
        -----
        DebiasingWarning
            Where the noise does not do what one may take it for.
        """
        self._validate_params()
        self.__dict__.pop("classes_", None)  # of an earlier fit; without an attribute: none
        solver = as_solver(self.solver)
        encoder = as_encoder(self.encoder)
        check_solver(solver, encoder, self.attribute_classifier, sensitive_features)
        encoder.load()
        images = self._images(X, encoder, reset=True)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        data = None
        if sensitive_features is not None:
            data = check_sensitive_data(sensitive_features, y, groups, len(images))
            data = data.subsample(self.subsample, seed)
        labels = check_findings(y, findings, len(images))
        check_gradient(solver, encoder, images)
        sets, self.query_plan_ = plan_fit(
            encoder, images, data, solver, self.leakage, self.max_queries, seed
        )

        n_epochs = solver.n_epochs(images.shape, encoder) if solver else 0
        context = self._init_callback_context(max_subtasks=n_epochs)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)

        def on_epoch(
            noise: np.ndarray, loss_curve: list[float], held_out: np.ndarray, budget: QueryBudget
        ) -> bool:
            assert solver is not None
            return self._call_back(
                context,
                {
                    "noise_": noise,
                    "clip_": solver.clip,
                    "loss_curve_": list(loss_curve),
                    "n_queries_": budget.spent,
                    "n_sent_": budget.sent,
                    "canary_": None,  # it was asked just before
                },
                X=lambda: _safe_indexing(X, held_out),  # a stopping rule sees held-out images
                y=lambda: None if y is None else _safe_indexing(y, held_out),
            )

        if data is None or sets is None:
            result = without_attribute(encoder, images, self.max_queries)
        else:
            result = fit_noise(
                encoder,
                images.decoded(rows=data.rows),
                data,
                sets,
                solver,
                objective=self.objective,
                reg_lambda=self.reg_lambda,
                attribute_classifier=self.attribute_classifier,
                max_queries=self.max_queries,
                seed=seed,
                findings=labels,
                on_epoch=on_epoch,
            )
            self.classes_ = data.classes
        self._set_result(result, clip=bool(solver and solver.clip))
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def transform(self, X) -> np.ndarray:
        """Embed images with the noise: phi(x + eps).

        Parameters
        ----------
        X : array of images, of flat rows, or file paths, n of them
            Of the shape seen in fit, where that was an array.

        Returns
        -------
        ndarray of shape (n, d), float32

        Raises
        ------
        EncoderChangedError
            If the model behind a remote encoder is not that of the fit: four fixed images are sent
            first, to tell.
        """
        check_is_fitted(self, "noise_")
        encoder = as_encoder(self.encoder)
        encoder.load()  # some know their input size only then
        images = self._images(X, encoder, reset=False)
        noise = self._noise_planes() if self.noise_.any() else None
        if self.canary_ is not None:
            Canary(encoder, images.shape, QueryBudget(), self.canary_).check()
        try:
            return embed_images(encoder, images, noise, self.clip_)
        except ValueError:
            images.verify()  # names all bad images, not only those of one batch
            raise

    def edit(self, X) -> np.ndarray:
        """Return the edited images x + eps, as the encoder sees them.

        Parameters
        ----------
        X : array of images, of flat rows, or file paths, n of them

        Returns
        -------
        ndarray of shape (n, H, W), (n, C, H, W) or (n, H, W, C), float32
            At the encoder's input size, in units of [0, 1] (beyond, without clipping), laid out
            like X.
        """
        check_is_fitted(self, "noise_")
        encoder = as_encoder(self.encoder)
        encoder.load()
        images = self._images(X, encoder, reset=False)
        noise = self._noise_planes()
        edited = [
            images.restore(add_noise(torch.from_numpy(batch), noise, self.clip_).numpy())
            for _, batch in images.batches(64)
        ]
        return np.concatenate(edited)

    @property
    def blocks_(self) -> pd.DataFrame | None:
        """What each block tells, for the solvers that erase blocks."""
        check_is_fitted(self, "noise_")
        blocks = getattr(self, "_blocks", None)
        return None if blocks is None else pd.DataFrame(blocks)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # embeddings are float32 whatever comes in
        return tags

    def _noise_planes(self) -> torch.Tensor:
        noise = self.noise_ if self.noise_.ndim == 3 else self.noise_[None]
        return torch.from_numpy(np.array(noise))

    def _call_back(self, context: Any, state: dict[str, Any], **data: Any) -> bool:
        epoch = context.subcontext("epoch").call_on_fit_task_begin(estimator=self)
        return epoch.call_on_fit_task_end(estimator=self, reconstruction_attributes=state, **data)

    def _set_result(self, result: FitResult, clip: bool) -> None:
        for name, value in vars(result).items():
            if name not in ("n_features", "blocks"):
                setattr(self, f"{name}_", value)
        # plain arrays: skops cannot keep a DataFrame
        self._blocks = None if result.blocks is None else result.blocks.to_dict("list")
        self._n_features_out = result.n_features
        self.n_iter_ = len(result.loss_curve)
        self.clip_ = clip
