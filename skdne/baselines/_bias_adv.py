"""BiasAdvClassifier: train on images that an adversary made to mislead a biased head."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import (
    _check_y,
    check_is_fitted,
    validate_data,
)
from torch.nn.functional import cross_entropy

from skdne.attribute_classifier import torch_head_of_scaler
from skdne.baselines._adversarial import adversarial_images, generalized_cross_entropy
from skdne.baselines._cells import encode_target
from skdne.baselines._linear_head import RECIPE_CONSTRAINTS, as_linear, probabilities
from skdne.baselines._training import adamw, new_head, shuffled_batches, train
from skdne.embedding import embed_images
from skdne.encoders import Encoder, TorchBackend, as_encoder
from skdne.images import Images, check_images, is_paths


class BiasAdvClassifier(ClassifierMixin, BaseEstimator):
    """Classify images by a linear head trained on bias-adversarial images too; re-implemented.

    A biased head g is trained beside the wanted head f, with a loss that prefers shortcuts. Images
    are changed so that g fails and f does not, and f learns from them as from the others. It needs
    gradients through the encoder, and no sensitive attribute.

    Parameters
    ----------
    encoder : None, str or Encoder, default=None
        phi, frozen, with gradients: a timm name, an encoder object, None for the bundled one.
    reg_lambda : float, default=0.5
        lambda: weight of f's loss in the attack.
    eps : float, default=0.3
        Largest change of a pixel (L-infinity), in units of [0, 1]. The published number; that it is
        in this norm and unit is our reading.
    n_steps : int, default=5
        Gradient steps of the attack.
    beta : float, default=1.0
        Weight of the loss on adversarial images.
    q : float, default=0.7
        Of g's generalised cross-entropy, in (0, 1]; small is close to cross-entropy.
    standardize : bool, default=False
        Standardise embeddings before both heads, as a StandardScaler before other heads does.
    image_shape : tuple of int or None, default=None
        Shape of an image where X holds flat rows.
    step_size, weight_decay, max_iter, batch_size, init_std, random_state
        The papers' recipe, see :class:`LinearHeadClassifier`; for both heads.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, d) or (n_classes, d)
        Of f, on embeddings, standardised if asked for.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    scaler_ : StandardScaler or None
    loss_curve_ : list of float
        Mean over batches of both heads' losses, for each epoch.
    n_iter_ : int
        Epochs run.
    n_queries_ : int
        Images sent to the encoder by fit, with or without a gradient.
    n_features_in_ : int
        Size of the second axis of X, where X is an array.

    Notes
    -----
    Each batch is one step of AdamW on ``CE(f(x)) + beta CE(f(x_adv)) + GCE(g(x))``, where

    .. math:: x_{adv} = \\arg\\max_{x'} CE(g(x'), y) - \\lambda CE(f(x'), y)

    is sought by projected gradient ascent from x with both heads as they are (the original's
    variant for ERM, ``w_x = 1, w_adv = beta``; there the encoder is trained too). An epoch costs
    ``n_steps`` gradients and one embedding for each image, more than all other rows of the papers'
    table together: lower ``max_iter`` where there is no GPU.

    References
    ----------
    Lim et al. 2023, "BiasAdv: bias-adversarial augmentation for model debiasing", sections
    3.2 and 4.1.

    Examples
    --------
    >>> from skdne.baselines import BiasAdvClassifier
    >>> from skdne.datasets import make_biased_images
    >>> data = make_biased_images(8, random_state=0)
    >>> clf = BiasAdvClassifier(n_steps=1, max_iter=1, random_state=0)
    >>> clf.fit(data.images, data.target).n_queries_
    24
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RECIPE_CONSTRAINTS,
        "reg_lambda": [Interval(Real, 0, None, closed="left")],
        "eps": [Interval(Real, 0, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "q": [Interval(Real, 0, 1, closed="right")],
        "standardize": ["boolean"],
    }

    def __init__(
        self,
        encoder=None,
        *,
        reg_lambda=0.5,
        eps=0.3,
        n_steps=5,
        beta=1.0,
        q=0.7,
        standardize=False,
        image_shape=None,
        step_size=1.25e-4,
        weight_decay=0.05,
        max_iter=50,
        batch_size=128,
        init_std=2e-5,
        random_state=None,
    ):
        self.encoder = encoder
        self.reg_lambda = reg_lambda
        self.eps = eps
        self.n_steps = n_steps
        self.beta = beta
        self.q = q
        self.standardize = standardize
        self.image_shape = image_shape
        self.step_size = step_size
        self.weight_decay = weight_decay
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.init_std = init_std
        self.random_state = random_state

    def fit(self, X, y) -> Self:
        """Train both heads.

        Parameters
        ----------
        X : array of images, of flat rows, or file paths, n of them
            See :mod:`skdne.images`.
        y : array-like of shape (n,)
            Labels, two classes or more.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad input, and for an encoder without gradients.
        """
        self._validate_params()
        encoder = as_encoder(self.encoder)
        if not isinstance(encoder, TorchBackend):
            raise ValueError(
                f"BiasAdvClassifier needs gradients, which {type(encoder).__name__} does not give; "
                "use a TorchEncoder or TimmEncoder. Of the other systems only SketchTransformer "
                "and the heads on embeddings work with a black box."
            )
        encoder.load()
        images = self._images(X, encoder, reset=True).decoded()
        y = _check_y(y, estimator=self)
        if len(y) != len(images):
            raise ValueError(f"y has {len(y)} rows, X has {len(images)}; they must be as many.")
        codes, self.classes_ = encode_target(y)
        _check_gradient(encoder, images)
        clean = embed_images(encoder, images, None, False)
        self.scaler_ = StandardScaler().fit(clean) if self.standardize else None
        scale = torch_head_of_scaler(self.scaler_) if self.standardize else _same
        embeddings, labels = scale(torch.from_numpy(clean)).double(), torch.from_numpy(codes)

        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=3)
        size = clean.shape[1], len(self.classes_), self.init_std
        f, g = (new_head(*size, int(seed)) for seed in seeds[:2])

        def heads(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            z = scale(encoder.forward(x)).cpu().double()
            return f(z), g(z)

        def embed_adversarial(rows: np.ndarray) -> torch.Tensor:
            found = []
            for part, batch in images.batches(encoder.batch_size, rows):
                x = torch.from_numpy(batch).to(encoder.torch_device)
                adversarial = adversarial_images(
                    x,
                    labels[part],
                    heads,
                    eps=self.eps,
                    n_steps=self.n_steps,
                    reg_lambda=self.reg_lambda,
                )
                found.append(encoder.embed(adversarial.cpu().numpy()))
            return scale(torch.from_numpy(np.concatenate(found))).double()

        def loss(rows: np.ndarray) -> torch.Tensor:
            z, targets = embeddings[rows], labels[rows]
            debiased = cross_entropy(f(z), targets)
            debiased = debiased + self.beta * cross_entropy(f(embed_adversarial(rows)), targets)
            return debiased + generalized_cross_entropy(g(z), targets, self.q)

        self.loss_curve_ = train(
            adamw([f, g], self.step_size, self.weight_decay),
            shuffled_batches(len(images), self.batch_size),
            loss,
            self.max_iter,
            int(seeds[2]),
        )
        self.n_iter_ = self.max_iter
        self.n_queries_ = len(images) * (1 + self.max_iter * (self.n_steps + 1))
        self.coef_, self.intercept_ = as_linear(f)
        return self

    def decision_function(self, X) -> np.ndarray:
        """Return f's decision values.

        Parameters
        ----------
        X : array of images, of flat rows, or file paths, n of them

        Returns
        -------
        ndarray of shape (n,) or (n, n_classes)
        """
        check_is_fitted(self)
        encoder = as_encoder(self.encoder)
        encoder.load()
        Z = embed_images(encoder, self._images(X, encoder, reset=False), None, False)
        Z = (Z if self.scaler_ is None else self.scaler_.transform(Z)).astype(np.float64)
        values = Z @ self.coef_.T + self.intercept_
        return values[:, 0] if values.shape[1] == 1 else values

    def predict_proba(self, X) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : array of images, of flat rows, or file paths, n of them

        Returns
        -------
        ndarray of shape (n, n_classes)
        """
        return probabilities(self.decision_function(X))

    def predict(self, X) -> np.ndarray:
        """Predict the class of each image.

        Parameters
        ----------
        X : array of images, of flat rows, or file paths, n of them

        Returns
        -------
        ndarray of shape (n,)
        """
        values = self.decision_function(X)
        best = (values > 0).astype(int) if values.ndim == 1 else values.argmax(axis=1)
        return self.classes_[best]

    def _images(self, X: Any, encoder: Encoder, *, reset: bool) -> Images:
        if not is_paths(X):
            X = validate_data(self, X, reset=reset, dtype="numeric", allow_nd=True)
        return check_images(
            X,
            image_shape=self.image_shape,
            input_size=encoder.input_size,
            n_channels=encoder.n_channels,
            pixel_range=encoder.pixel_range,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _same(z: torch.Tensor) -> torch.Tensor:
    return z


def _check_gradient(encoder: TorchBackend, images: Images) -> None:
    """Refuse a module that breaks the gradient, as one under torch.no_grad() does."""
    image = torch.from_numpy(images.batch([0])).to(encoder.torch_device)
    with torch.enable_grad():
        if not encoder.forward(image.requires_grad_()).requires_grad:
            raise ValueError(
                "BiasAdvClassifier needs gradients, but the module of "
                f"{type(encoder).__name__} returns none (torch.no_grad() in its forward?); give "
                "one that does."
            )
