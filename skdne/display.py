"""NoiseDisplay: pictures of a learned noise and of the images it edits."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdne.transformer import DebiasedNoiseTransformer

KINDS = ("noise", "edits")
# Red-blue and orange on grey can be told apart with every common colour blindness.
_DIVERGING, _HIGHLIGHT = "RdBu_r", "#E66100"
_UNITS = "pixel units of [0, 1]"


class NoiseDisplay:
    """Pictures of a learned noise, in the manner of scikit-learn's displays.

    Use :meth:`from_estimator`; matplotlib is needed (``pip install "skdne[plot]"``).

    Parameters
    ----------
    noise : ndarray of shape (H, W) or (C, H, W)
        eps, in pixel units of [0, 1].
    originals, edited : ndarray of shape (n, H, W) or (n, H, W, C), default=None
        Images before and after the edit, in [0, 1]; needed for ``kind="edits"``. The first
        original lies under the highlighted pixels of ``kind="noise"``.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes
        Of shape (3,) for ``kind="noise"`` and (n, 3) for ``kind="edits"``.
    im_ : ndarray of matplotlib AxesImage
        The images drawn, of the shape of ``axes_``.

    References
    ----------
    Jin et al. 2024, "Debiased Noise Editing on Foundation Models for Fair Medical Image
    Classification", Fig. 3 (edits) and Fig. 4 (noise).

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.display import NoiseDisplay
    >>> NoiseDisplay(np.eye(16) / 10).plot().axes_.shape
    (3,)
    """

    def __init__(
        self,
        noise: ArrayLike,
        *,
        originals: NDArray[Any] | None = None,
        edited: NDArray[Any] | None = None,
    ) -> None:
        self.noise = np.asarray(noise)
        self.originals = originals
        self.edited = edited
        if self.noise.ndim not in (2, 3):
            raise ValueError(
                f"noise must have shape (H, W) or (C, H, W), its shape is {self.noise.shape}."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        kind: str = "noise",
        sigma: float | None = None,
        top: float = 0.2,
        axes: Any = None,
    ) -> Self:
        """Draw the noise of a fitted transformer.

        Parameters
        ----------
        estimator : DebiasedNoiseTransformer, Pipeline, FrozenEstimator or search
            Fitted. The transformer is found in it.
        X : images, as ``estimator.transform`` takes them, default=None
            A few images: ``kind="edits"`` draws one row for each, ``kind="noise"`` uses the first
            as background.
        kind, sigma, top, axes
            See :meth:`plot`.

        Returns
        -------
        NoiseDisplay

        Raises
        ------
        ValueError
            If there is no transformer in ``estimator``, or no X where images are to be drawn.
        """
        _pyplot("NoiseDisplay.from_estimator")
        transformer, X = _find_transformer(estimator, X)
        check_is_fitted(transformer, "noise_")
        originals = edited = None
        if X is not None:
            edited = _channels_last(transformer.edit(X), transformer.noise_)
            plain = copy.copy(transformer)
            plain.noise_, plain.clip_ = np.zeros_like(transformer.noise_), False
            originals = _channels_last(plain.edit(X), transformer.noise_)
        display = cls(transformer.noise_, originals=originals, edited=edited)
        return display.plot(kind=kind, sigma=sigma, top=top, axes=axes)

    def smoothed(self, sigma: float | None = None) -> NDArray[Any]:
        """Smooth ``|eps|`` by a Gaussian and divide by its maximum.

        Parameters
        ----------
        sigma : float or None, default=None
            Standard deviation in pixels; None takes a 32nd of the shorter side.

        Returns
        -------
        ndarray of shape (H, W)
            In [0, 1]; all 0 where there is no noise. Channels are averaged.
        """
        size = np.abs(self.noise).reshape(-1, *self.noise.shape[-2:]).mean(axis=0)
        smooth = gaussian_filter(size, min(size.shape) / 32 if sigma is None else sigma)
        return smooth / smooth.max() if smooth.max() > 0 else smooth

    def top_mask(self, sigma: float | None = None, top: float = 0.2) -> NDArray[np.bool_]:
        """Mark the pixels with the largest values of the smoothed map.

        Parameters
        ----------
        sigma : float or None, default=None
            See :meth:`smoothed`.
        top : float, default=0.2
            Share of the pixels, in (0, 1].

        Returns
        -------
        ndarray of shape (H, W), bool
            Fewer are marked where fewer are above 0.
        """
        if not 0 < top <= 1:
            raise ValueError(f"top must be a share in (0, 1], got {top!r}.")
        smooth = self.smoothed(sigma)
        return (smooth >= np.quantile(smooth, 1 - top)) & (smooth > 0)

    def plot(
        self,
        kind: str = "noise",
        *,
        sigma: float | None = None,
        top: float = 0.2,
        axes: Any = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        kind : {"noise", "edits"}, default="noise"
            ``"noise"``: the noise, its smoothed size, and the pixels where that is largest.
            ``"edits"``: one row for each image: original, edited, difference.
        sigma : float or None, default=None
            Smoothing in pixels; see :meth:`smoothed`.
        top : float, default=0.2
            Share of the pixels that are highlighted.
        axes : array of matplotlib Axes, default=None
            Of shape (3,) or (n, 3); None makes a new figure.

        Returns
        -------
        self
        """
        plt = _pyplot("NoiseDisplay.plot")
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {list(KINDS)}, got {kind!r}.")
        if kind == "edits" and (self.originals is None or self.edited is None):
            raise ValueError("kind='edits' needs images: give X, for example images[:3].")
        n_rows = 1 if self.originals is None or kind == "noise" else len(self.originals)
        shape = (3,) if kind == "noise" else (n_rows, 3)
        if axes is None:
            size = (10.5, 3.4) if kind == "noise" else (8.4, 2.4 * n_rows + 0.4)
            _, axes = plt.subplots(
                n_rows, 3, figsize=size, squeeze=kind == "noise", layout="constrained"
            )
        self.axes_ = np.asarray(axes)
        if self.axes_.shape != shape:
            raise ValueError(
                f"axes must have shape {shape} for kind={kind!r}, it is {self.axes_.shape}."
            )
        self.figure_ = self.axes_.flat[0].figure
        self.im_ = np.empty(shape, dtype=object)
        if kind == "noise":
            self._plot_noise(sigma, top)
        else:
            self._plot_edits()
        for ax in self.axes_.flat:
            ax.set(xticks=[], yticks=[])
        return self

    def _plot_noise(self, sigma: float | None, top: float) -> None:
        noise = self.noise.reshape(-1, *self.noise.shape[-2:])
        several = f" (mean of {len(noise)} channels)" if len(noise) > 1 else ""
        raw, smooth = noise.mean(axis=0), self.smoothed(sigma)
        limit = float(np.abs(raw).max()) or 1.0
        aspect = "auto" if 1 in raw.shape else "equal"  # rows of numbers are drawn as a strip
        left, middle, right = self.axes_
        self.im_[0] = left.imshow(raw, cmap=_DIVERGING, vmin=-limit, vmax=limit, aspect=aspect)
        left.set_title(f"noise{several}")
        self.figure_.colorbar(self.im_[0], ax=left, label=_UNITS)
        self.im_[1] = middle.imshow(smooth, cmap="viridis", vmin=0, vmax=1, aspect=aspect)
        middle.set_title("|noise|, smoothed")
        self.figure_.colorbar(self.im_[1], ax=middle, label="fraction of its maximum")
        mask = self.top_mask(sigma, top)
        if self.originals is None:
            right.imshow(np.full(raw.shape, 0.9), cmap="gray", vmin=0, vmax=1, aspect=aspect)
        else:
            _imshow(right, self.originals[0], aspect=aspect)
        self.im_[2] = right.imshow(
            np.ma.masked_where(~mask, mask.astype(float)),
            cmap=_one_colour(_HIGHLIGHT),
            vmin=0,
            vmax=1,
            alpha=0.65,
            aspect=aspect,
        )
        right.set_title(f"largest {top:.0%} of it")
        if not self.noise.any():
            for ax in self.axes_:
                _write(ax, "no noise")

    def _plot_edits(self) -> None:
        assert self.originals is not None
        assert self.edited is not None
        difference = self.edited - self.originals
        if difference.ndim == 4:
            difference = difference.mean(axis=-1)
        limit = float(np.abs(difference).max()) or 1.0
        titles = ("original", "edited", "difference")
        for row, (axes, x, e, d) in enumerate(
            zip(self.axes_, self.originals, self.edited, difference, strict=True)
        ):
            aspect = "auto" if 1 in d.shape else "equal"
            self.im_[row, 0] = _imshow(axes[0], x, aspect)
            self.im_[row, 1] = _imshow(axes[1], e, aspect)
            self.im_[row, 2] = axes[2].imshow(
                d, cmap=_DIVERGING, vmin=-limit, vmax=limit, aspect=aspect
            )
            if not d.any():
                _write(axes[2], "no noise" if not self.noise.any() else "no difference")
        for ax, title in zip(self.axes_[0], titles, strict=True):
            ax.set_title(title)
        bar = self.figure_.colorbar(self.im_[0, 2], ax=self.axes_, shrink=0.9)
        bar.set_label(f"edited - original ({_UNITS})")


def _find_transformer(estimator: Any, X: Any) -> tuple[DebiasedNoiseTransformer, Any]:
    """Return the transformer in a fitted estimator, and X as it gets there."""
    if isinstance(estimator, DebiasedNoiseTransformer):
        return estimator, X
    if isinstance(estimator, FrozenEstimator):
        return _find_transformer(estimator.estimator, X)
    if isinstance(estimator, Pipeline):
        for i, (_, step) in enumerate(estimator.steps):
            if _holds_transformer(step):
                before = estimator[:i]
                return _find_transformer(step, before.transform(X) if i and X is not None else X)
    for name in ("best_estimator_", "estimator_"):  # searches, threshold tuning
        if hasattr(estimator, name):
            return _find_transformer(getattr(estimator, name), X)
    raise ValueError(
        f"estimator holds no DebiasedNoiseTransformer: {type(estimator).__name__}; give the "
        "transformer, or a fitted pipeline with it."
    )


def _holds_transformer(step: Any) -> bool:
    if isinstance(step, FrozenEstimator):
        return _holds_transformer(step.estimator)
    return isinstance(step, DebiasedNoiseTransformer)


def _channels_last(images: NDArray[Any], noise: NDArray[Any]) -> NDArray[Any]:
    """Bring (n, C, H, W) to what imshow draws: (n, H, W) or (n, H, W, 3)."""
    if images.ndim == 4 and images.shape[2:] == noise.shape[-2:]:
        images = np.moveaxis(images, 1, -1)
    return images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images


def _imshow(ax: Any, image: NDArray[Any], aspect: str) -> Any:
    """Draw an image on the fixed scale [0, 1], so that brightness compares between panels."""
    if image.ndim == 3 and image.shape[-1] != 3:  # no colour image: its mean over the channels
        image = image.mean(axis=-1)
    return ax.imshow(image.clip(0, 1), cmap="gray", vmin=0, vmax=1, aspect=aspect)


def _one_colour(colour: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([colour])


def _write(ax: Any, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "black"}
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", bbox=box)


def _pyplot(caller: str) -> Any:
    """Import matplotlib when it is first needed: it is an extra."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'{caller} needs matplotlib; install it with: pip install "skdne[plot]"'
        ) from error
    return plt
