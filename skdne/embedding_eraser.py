"""EmbeddingEraser: take an attribute out of embeddings, where no edit of the image can."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.cross_decomposition import PLSRegression
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from skdne import diagnostics
from skdne.attribute import (
    MAX_CLASSES,
    check_sensitive_data,
    encode_labels,
    missing_attribute,
)


class EmbeddingEraser(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Erase a sensitive attribute from embeddings with LEACE, the least change that does it.

    After ``transform`` the groups have the same mean embedding over the data of ``fit``. With y,
    that is the mean in which every (y, attribute) cell weighs the same: no linear classifier that
    is trained on those data *with these weights* does better than a constant. Without weights one
    still reads the attribute through y, as far as the two are correlated; ``balanced=False``
    takes that away as well, and with it a part of the disease. See the notes for what is not
    promised.

    On other images it *reduces* leakage, linear leakage most: measure it
    (:func:`skdne.leakage.measure_leakage`). With ``n_components`` the embeddings are first cut down
    to the few directions that tell y, which leaves nonlinear classifiers little to read, and drops
    whatever y does not name.

    Needs the library ``concept-erasure``: ``pip install "skdne[erase]"``.

    Parameters
    ----------
    n_components : int or None, default=None
        Number of features to return: the directions that tell y, found by partial least squares
        (PLS), without what in them tells the attribute. None returns all of the embedding.
    balanced : bool, default=True
        Whether (y, attribute) cells weigh the same where y is given, which keeps the disease where
        it is correlated with the attribute. False: rows weigh alike, so that a plain linear
        classifier on the data of fit is at chance. Without y rows weigh alike always.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes of the attribute.
    mean_, scale_ : ndarray of shape (d,)
        Mean and standard deviation of the embeddings, weighted as ``balanced`` says.
    read_, write_ : ndarray of shape (d, r) and (r, d), or None
        The erasure, ``x - (x @ read_) @ write_`` on standardised embeddings x; r is at most
        ``len(classes_) - 1``. None with ``n_components``.
    rotation_ : ndarray of shape (d, n_components) or None
        From standardised embeddings to what is returned. None without ``n_components``.
    n_features_in_ : int
        d.

    Notes
    -----
    What holds on the data of ``fit``, by Theorem 3.1 of Belrose et al.: with weights w, the cells'
    or equal ones, the w-weighted mean embedding of every group is the same, and so no linear
    classifier lowers a w-weighted convex loss below that of a constant, with or without a penalty
    on its coefficients. What does not follow: within one class of y the groups' means may differ;
    a linear classifier trained with other weights may read the attribute; nonlinear ones may read
    it in any case.

    Covariances are of standardised embeddings, shrunk towards a multiple of the identity (Bodnar,
    Gupta, Parolya 2014) for the effective sample size, ``sum(w)^2 / sum(w^2)``; all in float64.
    concept-erasure takes no sample weights: it is given the weighted moments, which are all that
    LEACE depends on. PLS takes none either: each row, centred and times ``sqrt(w)``, is passed with
    both signs, which gives exactly the weighted covariances.

    References
    ----------
    Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed form", Theorem 4.3;
    Wold, Sjöström, Eriksson 2001, "PLS-regression: a basic tool of chemometrics".

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.embedding_eraser import EmbeddingEraser
    >>> rng = np.random.default_rng(0)
    >>> a = np.arange(200) % 2
    >>> Z = rng.normal(size=(200, 5)) + a[:, None]
    >>> erased = EmbeddingEraser().fit_transform(Z, sensitive_features=a)
    >>> float(np.abs(erased[a == 1].mean(axis=0) - erased[a == 0].mean(axis=0)).max().round(6))
    0.0
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sensitive_features": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "balanced": ["boolean"],
    }

    def __init__(self, n_components=None, *, balanced=True):
        self.n_components = n_components
        self.balanced = balanced

    def fit(self, Z, y=None, *, sensitive_features=None) -> Self:
        """Learn what to erase.

        Parameters
        ----------
        Z : array-like of shape (n, d)
            Embeddings.
        y : array-like of shape (n,) or (n, k), or None, default=None
            Classes of the disease. The first column balances: with ``balanced`` its (y, attribute)
            cells weigh the same, lest the disease be erased with the attribute. All columns tell
            ``n_components`` what to keep; a missing value says nothing.
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute; several columns are intersected. Rows where it is missing are left out.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Without concept-erasure.
        ValueError
            For bad input, and where ``n_components`` has no y to go by.
        """
        self._validate_params()
        Z = validate_data(self, Z, dtype=np.float64, ensure_min_samples=2)
        if sensitive_features is None:
            raise ValueError(missing_attribute("Z", "eraser"))
        columns = _columns(y)
        first = columns[0] if columns else None
        data = check_sensitive_data(sensitive_features, first, None, len(Z))
        diagnostics.warn(diagnostics.small_cells(data.cells, data.cell_names))
        X = Z[data.rows]
        weights = data.weights if self.balanced else np.ones(len(X))
        weights = weights / weights.sum()

        self.classes_ = data.classes
        self.mean_ = weights @ X
        X = X - self.mean_
        spread = np.sqrt(weights @ X**2)
        self.scale_ = np.where(spread > 1e-10 * np.abs(self.mean_), spread, 1.0)
        X /= self.scale_
        groups = np.eye(len(data.classes))[data.codes]
        self.read_ = self.write_ = self.rotation_ = None
        if self.n_components is None:
            self.read_, self.write_ = _leace(X, groups, weights)
        else:
            n_directions = self.n_components + len(data.classes) - 1  # as many will be erased
            self._check_n_components(columns, n_directions, X.shape)
            targets = np.column_stack([_indicators(column)[data.rows] for column in columns])
            directions = _pls_directions(X, targets, weights, n_directions)
            read, write = _leace(X @ directions, groups, weights)
            directions -= directions @ read @ write
            self.rotation_ = directions @ _axes(X @ directions, weights, self.n_components)
        self._n_features_out = self.n_components or X.shape[1]
        return self

    def transform(self, Z) -> np.ndarray:
        """Erase the attribute; it need not be known.

        Parameters
        ----------
        Z : array-like of shape (n, d)

        Returns
        -------
        ndarray of shape (n, d) or (n, n_components)
            float32 where Z is, else float64.
        """
        check_is_fitted(self)
        Z = validate_data(self, Z, reset=False, dtype=[np.float64, np.float32])
        X = (Z.astype(np.float64) - self.mean_) / self.scale_
        if self.rotation_ is not None:
            X = X @ self.rotation_
        else:
            X = (X - (X @ self.read_) @ self.write_) * self.scale_ + self.mean_
        return X.astype(Z.dtype)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.n_components is not None
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _check_n_components(
        self, columns: list[Any], n_directions: int, shape: tuple[int, ...]
    ) -> None:
        if not columns:
            raise ValueError(
                f"n_components={self.n_components} needs y, which tells what to keep: pass it to "
                "fit, or set n_components=None. (This estimator requires y to be passed, but the "
                "target y is None.)"
            )
        if n_directions > min(shape):
            raise ValueError(
                f"n_components={self.n_components} needs {n_directions} directions, one more for "
                "each attribute class but the first; there are at most as many as images with an "
                f"attribute (n_samples={shape[0]}) and features (n_features={shape[1]}). Lower it."
            )


def _columns(y: Any) -> list[Any]:
    """The columns of y: a list of one-dimensional label arrays, empty without y."""
    if y is None:
        return []
    if getattr(y, "ndim", None) is None:
        y = np.asarray(y, dtype=object)
    if y.ndim < 2:
        return [y]
    return [y.iloc[:, j] if hasattr(y, "iloc") else y[:, j] for j in range(y.shape[1])]


def _indicators(labels: Any) -> np.ndarray:
    """One 0/1 column for each class of ``labels``; nan where the label is missing."""
    codes, classes = encode_labels(labels, "y")
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise ValueError(
            f"y has a column with {len(classes)} distinct values; n_components needs classes, two "
            f"to {MAX_CLASSES} of them: leave the column out, or bin it."
        )
    indicators = np.eye(len(classes))[codes]
    indicators[codes < 0] = np.nan
    return indicators[:, 1:] if len(classes) == 2 else indicators


def _pls_directions(
    X: np.ndarray, targets: np.ndarray, weights: np.ndarray, n_directions: int
) -> np.ndarray:
    """Directions (d, m) of weighted PLS of standardised targets on X, which is standardised."""
    known = ~np.isnan(targets)
    w = known * weights[:, None]
    mean = (w * np.where(known, targets, 0)).sum(axis=0) / w.sum(axis=0)
    T = np.where(known, targets - mean, 0)  # unknown: the mean, which adds no covariance
    spread = np.sqrt(weights @ T**2)
    T = (T / np.where(spread > 0, spread, 1))[:, spread > 0]
    if not T.shape[1]:
        raise ValueError("y holds one class among the images with an attribute; it needs two.")
    root = np.sqrt(weights * len(X))[:, None]
    pls = PLSRegression(n_directions, scale=False, max_iter=5000)
    pls.fit(np.vstack([root * X, -root * X]), np.vstack([root * T, -root * T]))
    return pls.x_rotations_


def _axes(X: np.ndarray, weights: np.ndarray, n_components: int) -> np.ndarray:
    """The first principal axes (m, n_components) of X, which has less than full rank."""
    axes = np.linalg.eigh((X * weights[:, None]).T @ X)[1][:, ::-1][:, :n_components]
    return axes * np.sign(axes[abs(axes).argmax(axis=0), np.arange(n_components)])


def _leace(X: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices of the LEACE projection ``x - (x @ read) @ write``; X has weighted mean 0."""
    fitter_class = _import_leace()
    n = 1 / (weights**2).sum()  # effective sample size; the weights sum to 1
    fitter = fitter_class(
        X.shape[1],
        groups.shape[1],
        dtype=torch.float64,
        # its default would trade exact erasure for a smaller trace, to protect layers downstream
        constrain_cov_trace=False,
        shrinkage=False,  # its own goes beyond the identity, to negative variances, at small n
        svd_tol=1e-6,
    )
    fitter.n = torch.tensor(n, dtype=torch.float64)
    weighted = X * weights[:, None]
    fitter.sigma_xx_ = torch.from_numpy((n - 1) * _shrunk(X.T @ weighted, n))
    fitter.sigma_xz_ = torch.from_numpy((n - 1) * (weighted.T @ (groups - weights @ groups)))
    eraser = fitter.eraser
    used = eraser.proj_right.norm(dim=1) > 0
    return eraser.proj_right[used].numpy().T.copy(), eraser.proj_left[:, used].numpy().T.copy()


def _shrunk(S: np.ndarray, n: float) -> np.ndarray:
    """Optimal linear shrinkage of a covariance (d, d) of n rows towards a multiple of identity."""
    target = np.trace(S) / len(S) * np.eye(len(S))
    distance = ((S - target) ** 2).sum()
    noise = np.trace(S) ** 2 / n  # of S around the true covariance, squared Frobenius norm
    share = 1.0 if noise >= distance else noise / distance
    return (1 - share) * S + share * target


def _import_leace() -> Any:
    try:
        with warnings.catch_warnings():
            # it scripts a function with torch.jit, which warns, as of torch 2.10 by the first kind
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            from concept_erasure import LeaceFitter
    except ImportError as error:
        raise ImportError(
            'EmbeddingEraser needs the library concept-erasure: pip install "skdne[erase]".'
        ) from error
    return LeaceFitter
