"""The panels that NoiseDisplay draws: the noise, edited images, the map of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Red-blue, orange on grey and a map of rising lightness can be told apart with every common colour
# blindness.
_DIVERGING, _SEQUENTIAL, _HIGHLIGHT = "RdBu_r", "viridis", "#E66100"
_UNITS = "pixel units of [0, 1]"


def draw_noise(
    axes: NDArray[Any],
    noise: NDArray[Any],
    smooth: NDArray[Any],
    mask: NDArray[np.bool_],
    background: NDArray[Any] | None,
) -> NDArray[Any]:
    """Draw the noise, its smoothed size, and the pixels where that is largest.

    Parameters
    ----------
    axes : ndarray of Axes of shape (3,)
    noise : ndarray of shape (H, W) or (C, H, W)
    smooth, mask : ndarray of shape (H, W)
    background : ndarray of shape (H, W) or (H, W, C), or None
        Image beneath the mask.

    Returns
    -------
    ndarray of AxesImage, of the shape of ``axes``
    """
    planes = noise.reshape(-1, *noise.shape[-2:])
    several = f" (mean of {len(planes)} channels)" if len(planes) > 1 else ""
    raw = planes.mean(axis=0)
    limit = float(np.abs(raw).max()) or 1.0
    aspect = _aspect(raw)
    drawn = np.empty(3, dtype=object)
    left, middle, right = axes
    drawn[0] = left.imshow(raw, cmap=_DIVERGING, vmin=-limit, vmax=limit, aspect=aspect)
    left.set_title(f"noise{several}")
    left.figure.colorbar(drawn[0], ax=left, label=_UNITS)
    drawn[1] = middle.imshow(smooth, cmap=_SEQUENTIAL, vmin=0, vmax=1, aspect=aspect)
    middle.set_title("|noise|, smoothed")
    middle.figure.colorbar(drawn[1], ax=middle, label="fraction of its maximum")
    _imshow(right, np.full(raw.shape, 0.9) if background is None else background)
    drawn[2] = right.imshow(
        np.ma.masked_where(~mask, mask.astype(float)),
        cmap=_one_colour(_HIGHLIGHT),
        vmin=0,
        vmax=1,
        alpha=0.65,
        aspect=aspect,
    )
    if not noise.any():
        for ax in axes:
            _write(ax, "no noise")
    return drawn


def draw_edits(
    axes: NDArray[Any], noise: NDArray[Any], originals: NDArray[Any], edited: NDArray[Any]
) -> NDArray[Any]:
    """Draw original, edited image and their difference, one row for each image.

    Parameters
    ----------
    axes : ndarray of Axes of shape (n, 3)
    noise : ndarray of shape (H, W) or (C, H, W)
    originals, edited : ndarray of shape (n, H, W) or (n, H, W, C)

    Returns
    -------
    ndarray of AxesImage, of the shape of ``axes``
    """
    difference = edited - originals
    if difference.ndim == 4:
        difference = difference.mean(axis=-1)
    limit = float(np.abs(difference).max()) or 1.0
    drawn = np.empty(axes.shape, dtype=object)
    for row, (x, e, d) in enumerate(zip(originals, edited, difference, strict=True)):
        drawn[row, 0] = _imshow(axes[row, 0], x)
        drawn[row, 1] = _imshow(axes[row, 1], e)
        drawn[row, 2] = axes[row, 2].imshow(
            d, cmap=_DIVERGING, vmin=-limit, vmax=limit, aspect=_aspect(d)
        )
        if not d.any():
            _write(axes[row, 2], "no difference" if noise.any() else "no noise")
    for ax, title in zip(axes[0], ("original", "edited", "difference"), strict=True):
        ax.set_title(title)
    bar = axes[0, 0].figure.colorbar(drawn[0, 2], ax=axes, shrink=0.9)
    bar.set_label(f"edited - original ({_UNITS})")
    return drawn


def draw_blocks(
    axes: NDArray[Any], original: NDArray[Any], edited: NDArray[Any], blocks: pd.DataFrame
) -> NDArray[Any]:
    """Draw an image, the map of blocks over it, and the edited image.

    A block has the colour of its AUC, none where it was not shown alone, and hatches where it is
    erased.

    Parameters
    ----------
    axes : ndarray of Axes of shape (3,)
    original, edited : ndarray of shape (H, W) or (H, W, C)
    blocks : DataFrame
        ``DebiasedNoiseTransformer.blocks_``.

    Returns
    -------
    ndarray of AxesImage, of the shape of ``axes``
    """
    before, middle, after = axes
    height, width = original.shape[:2]
    # zeros, not whatever the memory held: matplotlib computes with what the mask hides, too
    aucs = np.ma.array(np.zeros((height, width)), mask=True)
    places = blocks[["top", "left", "size"]].to_numpy(int)
    for (top, left, size), auc in zip(places, blocks["auc"], strict=True):
        if not np.isnan(auc):
            aucs[top : top + size, left : left + size] = auc
    drawn = np.empty(3, dtype=object)
    drawn[0] = _imshow(before, original)
    before.set_title("original")
    _imshow(middle, original)
    drawn[1] = middle.imshow(
        aucs, cmap=_SEQUENTIAL, vmin=0.5, vmax=1, alpha=0.55, aspect=_aspect(aucs)
    )
    erased = places[blocks["erased"].to_numpy(bool)]
    for top, left, size in erased:
        _hatch(middle, top, left, size, height, width)
    middle.set_title(f"erased (hatched): {len(erased)} of {len(blocks)} blocks")
    if aucs.count():
        bar = middle.figure.colorbar(drawn[1], ax=middle, shrink=0.9)
        bar.set_label("AUC of the best probe,\nblock shown alone (0.5 = chance)")
    drawn[2] = _imshow(after, edited)
    after.set_title("edited")
    if not len(erased):
        _write(after, "no noise")
    return drawn


def _hatch(ax: Any, top: int, left: int, size: int, height: int, width: int) -> None:
    """Hatch a block in white on black, to be seen over light and dark; the last ones are cut."""
    from matplotlib.patches import Rectangle

    sides = min(size, width - left), min(size, height - top)
    for colour, line, hatch_line in (("black", 3.0, 3.0), ("white", 1.5, 1.2)):
        patch = Rectangle((left - 0.5, top - 0.5), *sides, fill=False, hatch="//")
        patch.set(edgecolor=colour, linewidth=line, hatch_linewidth=hatch_line)
        ax.add_patch(patch)


def _imshow(ax: Any, image: NDArray[Any]) -> Any:
    """Draw an image on the fixed scale [0, 1], so that brightness compares between panels."""
    if image.ndim == 3 and image.shape[-1] != 3:  # no colour image: its mean over the channels
        image = image.mean(axis=-1)
    return ax.imshow(image.clip(0, 1), cmap="gray", vmin=0, vmax=1, aspect=_aspect(image))


def _aspect(image: NDArray[Any]) -> str:
    """Rows of numbers are drawn as a strip."""
    return "auto" if 1 in image.shape[:2] else "equal"


def _one_colour(colour: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([colour])


def _write(ax: Any, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "black"}
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", bbox=box)
