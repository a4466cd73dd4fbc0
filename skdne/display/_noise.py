"""NoiseDisplay: pictures of a learned noise and of the images it edits."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from sklearn.utils.validation import check_is_fitted

from skdne.display._find import find_transformer
from skdne.drawing import load_matplotlib
from skdne.fitted_parts import without_noise
from skdne.panels import draw_blocks, draw_edits, draw_noise

KINDS = ("noise", "edits", "blocks")


class NoiseDisplay:
    """Pictures of a learned noise, in the manner of scikit-learn's displays.

    Use :meth:`from_estimator`; matplotlib is needed (``pip install "skdne[plot]"``).

    Parameters
    ----------
    noise : ndarray of shape (H, W) or (C, H, W)
        eps, in pixel units of [0, 1].
    originals, edited : ndarray of shape (n, H, W) or (n, H, W, C), default=None
        Images before and after the edit, in [0, 1]; needed for ``kind="edits"`` and
        ``kind="blocks"``. The first original lies under the highlighted pixels of
        ``kind="noise"``.
    blocks : DataFrame or None, default=None
        ``blocks_`` of the transformer; needed for ``kind="blocks"``.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes
        Of shape (3,), for ``kind="edits"`` (n, 3).
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
        blocks: pd.DataFrame | None = None,
    ) -> None:
        self.noise = np.asarray(noise)
        self.originals = originals
        self.edited = edited
        self.blocks = blocks
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
        estimator : DebiasedNoiseTransformer, or an estimator that holds one, such as a pipeline
            Fitted. The transformer is found in it.
        X : images, as ``estimator.transform`` takes them, default=None
            A few images: ``kind="edits"`` draws one row for each, the others use the first.
        kind, sigma, top, axes
            See :meth:`plot`.

        Returns
        -------
        NoiseDisplay

        Raises
        ------
        ValueError
            If there is no transformer in ``estimator``, no X where images are to be drawn, or for
            ``kind="blocks"`` no ``blocks_``: its solver erases none.
        """
        load_matplotlib("NoiseDisplay.from_estimator")
        transformer, X = find_transformer(estimator, X)
        check_is_fitted(transformer, "noise_")
        originals = edited = None
        if X is not None:
            edited = _channels_last(transformer.edit(X), transformer.noise_)
            originals = _channels_last(without_noise(transformer).edit(X), transformer.noise_)
        blocks = getattr(transformer, "blocks_", None)  # a loaded noise has none
        display = cls(transformer.noise_, originals=originals, edited=edited, blocks=blocks)
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
        kind : {"noise", "edits", "blocks"}, default="noise"
            ``"noise"``: the noise, its smoothed size, and the pixels where that is largest.
            ``"edits"``: one row for each image: original, edited, difference.
            ``"blocks"``: the first image; over it, how well each block tells the attribute
            and which blocks are erased; the image edited.
        sigma : float or None, default=None
            Smoothing in pixels; see :meth:`smoothed`.
        top : float, default=0.2
            Share of the pixels that are highlighted.
        axes : array of matplotlib Axes, default=None
            Of the shape of ``axes_``; None makes a new figure.

        Returns
        -------
        self
        """
        plt = load_matplotlib("NoiseDisplay.plot")
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {list(KINDS)}, got {kind!r}.")
        originals, edited, blocks = self.originals, self.edited, self.blocks
        if kind != "noise" and (originals is None or edited is None):
            raise ValueError(f"kind={kind!r} needs images: give X, for example images[:3].")
        if kind == "blocks" and blocks is None:
            raise ValueError(
                "kind='blocks' needs the blocks_ of a fit with solver='erasure' or 'gates', and "
                "there are none; the other kinds draw any noise."
            )
        n_rows = 1 if originals is None or kind != "edits" else len(originals)
        shape = (n_rows, 3) if kind == "edits" else (3,)
        if axes is None:
            size = (8.4, 2.4 * n_rows + 0.4) if kind == "edits" else (10.5, 3.4)
            _, axes = plt.subplots(
                n_rows, 3, figsize=size, squeeze=kind != "edits", layout="constrained"
            )
        self.axes_ = np.asarray(axes)
        if self.axes_.shape != shape:
            raise ValueError(
                f"axes must have shape {shape} for kind={kind!r}, it is {self.axes_.shape}."
            )
        self.figure_ = self.axes_.flat[0].figure
        if kind == "noise":
            background = None if originals is None else originals[0]
            smooth, mask = self.smoothed(sigma), self.top_mask(sigma, top)
            self.im_ = draw_noise(self.axes_, self.noise, smooth, mask, background)
            self.axes_[2].set_title(f"largest {top:.0%} of it")
        else:
            assert originals is not None
            assert edited is not None
            if kind == "edits":
                self.im_ = draw_edits(self.axes_, self.noise, originals, edited)
            else:
                assert blocks is not None
                self.im_ = draw_blocks(self.axes_, originals[0], edited[0], blocks)
        for ax in self.axes_.flat:
            ax.set(xticks=[], yticks=[])
        return self


def _channels_last(images: NDArray[Any], noise: NDArray[Any]) -> NDArray[Any]:
    """Bring (n, C, H, W) to what imshow draws: (n, H, W) or (n, H, W, 3)."""
    if images.ndim == 4 and images.shape[2:] == noise.shape[-2:]:
        images = np.moveaxis(images, 1, -1)
    return images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images
