"""Phantom chest radiographs with a known attribute cue and a known disease cue."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch, check_random_state

# All places below are in eighths of the image, so that they sit on the grid of 16 px patches of a
# 128 px image: (top, left, height, width).
_DISEASE_ZONE = (3.5, 0.75, 2.75, 2.75)
_PLACES: dict[str, list[tuple[float, float, float, float]]] = {
    "patch": [(1, 5, 2, 2)],
    "off-grid": [(1.4, 4.6, 2, 2)],
    "corner": [(0, 7, 2, 1)],
    "band": [],
    "two": [(1, 5, 2, 1), (5, 5, 1, 2)],
    "joint": [(1, 5, 2, 1), (5, 5, 1, 2)],
    "global": [(0, 0, 8, 8)],
    "none": [],
}
_COMPACT = ("patch", "off-grid", "corner")
_CELLS = [(0, "F"), (0, "M"), (1, "F"), (1, "M")]
# Anatomy is drawn chunk by chunk, each chunk from its own generator: image i does not depend on n.
_CHUNK = 16
_Array = NDArray[Any]


def _sigmoid(z: _Array) -> _Array:
    return 1 / (1 + np.exp(-np.clip(z, -30, 30)))


def _smooth_noise(rng: np.random.Generator, n: int, grid: int, size: int) -> _Array:
    """Random field of shape (n, size, size): white noise on a coarse grid, linearly enlarged."""
    at = np.linspace(0, grid - 1, size, dtype=np.float32)
    enlarge = np.clip(1 - np.abs(at[:, None] - np.arange(grid, dtype=np.float32)), 0, 1)
    return enlarge @ rng.standard_normal((n, grid, grid), dtype=np.float32) @ enlarge.T


def render_phantoms(rng: np.random.Generator, n: int, size: int) -> _Array:
    """Draw `n` phantom frontal chest radiographs without any cue.

    Lungs are dark; heart, mediastinum, diaphragm, ribs and clavicles are bright. Position, scale,
    tilt, sizes, rib spacing, exposure and texture vary from image to image.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the variation.
    n : int
        Number of images.
    size : int
        Height and width, in pixels.

    Returns
    -------
    ndarray of shape (n, size, size), float32
        Pixel values around the range [0, 1], not clipped.
    """
    vary = iter(rng.standard_normal((20, n, 1, 1), dtype=np.float32))

    def jitter(sd: float) -> _Array:
        return sd * np.clip(next(vary), -2.5, 2.5)

    at = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    down, across = at[:, None], at[None, :]
    tilt, zoom = jitter(0.02), 1 + jitter(0.03)
    p = zoom * (across + tilt * down) + jitter(0.012)  # from the midline, negative: image left
    q = zoom * (down - tilt * across) + 0.5 + jitter(0.015)  # from top to bottom
    m = np.abs(p)

    base = 0.76 + jitter(0.015) + 0.03 * np.tanh(12 * p)  # the right diaphragm stands higher
    width = (0.085 + 0.11 * q) * (1 + jitter(0.05))
    inside = 1 - ((m - 0.205) / width) ** 2 - np.abs((q - 0.44) / (0.35 + jitter(0.01))) ** 3
    above = base - 1.2 * (m - 0.17) ** 2 - q
    lung = _sigmoid(9 * inside) * _sigmoid(70 * above)
    heart_size = 1 + jitter(0.07)
    beyond = ((p - 0.055) / (0.135 * heart_size)) ** 2 + ((q - 0.62) / (0.15 * heart_size)) ** 2
    heart = _sigmoid(7 * (1 - beyond))
    spine = np.exp(-((p / (0.055 + jitter(0.004))) ** 2))
    lung = lung * (1 - 0.92 * heart) * (1 - 0.9 * spine)
    body = _sigmoid(30 * (0.50 + jitter(0.01) - m)) * _sigmoid(
        26 * (q + 0.06 - 0.9 * np.clip(m - 0.14, 0, None) + jitter(0.02))
    )

    spacing, phase = 0.088 * (1 + jitter(0.04)), jitter(1.5)
    posterior = np.cos(2 * np.pi * (q - 0.55 * m + 0.9 * m * m) / spacing + phase)
    anterior = np.cos(2 * np.pi * (q + 0.75 * m) / (1.25 * spacing) + 2 * phase)
    cage = _sigmoid(25 * (0.41 - m)) * _sigmoid(40 * above) * (1 - 0.7 * heart)
    ribs = cage * (0.055 * np.clip(posterior, 0, 1) ** 2 + 0.03 * np.clip(anterior, 0, 1) ** 2)
    clavicle = np.exp(-(((q - 0.175 - jitter(0.008) + 0.22 * (m - 0.05)) / 0.018) ** 2))
    clavicle = clavicle * _sigmoid(60 * (m - 0.045)) * _sigmoid(40 * (0.36 - m))
    vertebrae = spine * np.cos(2 * np.pi * q / 0.06 + phase)

    image = 0.12 + body * (
        0.50 + 0.10 * spine + 0.09 * heart + 0.10 * clavicle + ribs + 0.015 * vertebrae
    )
    image = image - (0.40 + jitter(0.02)) * lung
    image += 0.030 * _smooth_noise(rng, n, 5, size) + 0.014 * _smooth_noise(rng, n, 14, size)
    image += (0.012 + 0.016 * lung) * _smooth_noise(rng, n, 40, size)  # vessels and grain
    image += 0.012 * rng.standard_normal((n, size, size), dtype=np.float32)
    return (1 + jitter(0.06)) * image + jitter(0.02)


def stripes(size: int, angle: float, phase: _Array, period: float = 0.047) -> _Array:
    """Draw a sinusoidal texture in [-1, 1]; angle in radians, period a fraction of the image."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    along = np.float32(np.cos(angle)) * at[None, :] + np.float32(np.sin(angle)) * at[:, None]
    return np.sin(np.float32(2 * np.pi / period) * along + phase)


def opacity(size: int, row: _Array, column: _Array, radius: _Array) -> _Array:
    """Draw a soft round opacity in [0, 1], exactly zero beyond `radius` (all fractions of 1)."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    square = ((at[:, None] - row) ** 2 + (at[None, :] - column) ** 2) / radius**2
    return np.clip(1 - square, 0, None) ** 2


def _box(size: int, place: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    top, left, height, width = (round(part * size / 8) for part in place)
    mask = np.zeros((size, size), dtype=bool)
    mask[max(top, 0) : top + height, max(left, 0) : left + width] = True
    return mask


def _cue_places(size: int, cue: str, overlap: float) -> list[NDArray[np.bool_]]:
    """Masks of the places of the cue, after it was moved towards the disease zone."""
    if cue == "band":
        at = np.arange(size)
        return [np.abs(at[:, None] + at[None, :] - round(0.62 * size)) < size / 14]
    if overlap == 0:
        return [_box(size, place) for place in _PLACES[cue]]
    (top, left, height, width), zone = _PLACES[cue][0], _DISEASE_ZONE
    end_top = zone[0] + (zone[2] - height) / 2
    end_left = zone[1] + (zone[3] - width) / 2
    for step in np.linspace(0, 1, 2 * size + 1):
        place = (top + step * (end_top - top), left + step * (end_left - left), height, width)
        mask = _box(size, place)
        if mask[_box(size, zone)].sum() >= overlap * mask.sum():
            break
    return [mask]


def _draw_chunk(
    rng: np.random.Generator, size: int, cue: str, places: list[NDArray[np.bool_]]
) -> tuple[_Array, _Array, NDArray[Any]]:
    """Anatomy (m, H, W), disease at strength 1 (m, H, W) and cue for either group (2, m, H, W)."""
    n = _CHUNK
    anatomy = render_phantoms(rng, n, size)
    draw = rng.random((6, n, 1, 1), dtype=np.float32)
    top, left, height, width = (np.float32(part / 8) for part in _DISEASE_ZONE)
    radius = np.float32(0.09) + np.float32(0.05) * draw[0]
    row = top + radius + draw[1] * (height - 2 * radius)
    column = left + radius + draw[2] * (width - 2 * radius)
    disease = opacity(size, row, column, radius) * (np.float32(0.15) + np.float32(0.85) * draw[3])

    phase = np.float32(np.pi / 3) * (2 * draw[4] - 1)
    rising, falling = (stripes(size, angle, phase) for angle in (np.pi / 4, -np.pi / 4))
    attribute = np.zeros((2, n, size, size), dtype=np.float32)
    if cue == "joint":
        # Either place alone is a fair coin; whether the two agree says the group.
        first = draw[5] < 0.5
        for group in (0, 1):
            second = first if group else ~first
            attribute[group] += np.where(first, rising, falling) * places[0]
            attribute[group] += np.where(second, rising, falling) * places[1]
    else:
        where = np.any(places, axis=0) if places else np.float32(0)
        attribute[0], attribute[1] = rising * where, falling * where
    return anatomy, disease, attribute


def _check(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    kind = Integral if whole else (Integral, float, np.floating)
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= float(value) <= high:
        what = "an integer" if whole else "a number"
        raise ValueError(f"{name} must be {what} in [{low}, {high}]; got {value!r}.")


def _cell_counts(n_samples: int, correlation: float) -> dict[tuple[int, str], int]:
    agree = round(n_samples * (1 + correlation) / 2)
    differ = n_samples - agree
    return {
        (1, "M"): agree // 2,
        (0, "F"): agree - agree // 2,
        (1, "F"): differ - differ // 2,
        (0, "M"): differ // 2,
    }


def make_biased_images(
    n_samples: int = 1000,
    *,
    image_size: int = 128,
    cue: str = "patch",
    cue_strength: float = 0.12,
    disease_strength: float = 0.5,
    overlap: float = 0.0,
    correlation: float = 0.7,
    cells: Mapping[tuple[int, str], int] | None = None,
    random_state: Any = None,
) -> Bunch:
    """Make phantom chest radiographs with a known attribute cue and a known disease cue.

    The disease is a soft opacity of random place, size and strength in one lower lung. The
    attribute shows as a striped texture at a place fixed in the image, rising to the right in one
    group and falling in the other. Nothing else in an image depends on either label.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of images; not used where `cells` is given.
    image_size : int, default=128
        Height and width in pixels: a multiple of 8, at least 32.
    cue : str, default="patch"
        Where the attribute shows. ``"patch"``: a square of a quarter of the side, aligned to the
        grid of eighths of the side (16 px at 128 px); ``"off-grid"``: the same, not aligned;
        ``"corner"``; ``"band"``: a diagonal; ``"two"``: two separate places; ``"joint"``: two
        places, neither of which tells the attribute alone, only whether both look alike does;
        ``"global"``: everywhere, at a quarter of the strength; ``"none"``: nowhere.
    cue_strength : float, default=0.12
        Amplitude of the texture, as a fraction of the pixel range, in [0, 1].
    disease_strength : float, default=0.5
        Largest peak of the opacity, as a fraction of the pixel range, in [0, 1]. The peak is
        uniform between 15% of this and this, so some diseased images are hardly so.
    overlap : float, default=0.0
        Part of the cue's area that lies in the disease zone, in [0, 1]; the cue is moved there.
        Only for the cues ``"patch"``, ``"off-grid"`` and ``"corner"``.
    correlation : float, default=0.7
        Correlation of target and attribute, in [-1, 1]: a share (1 + correlation) / 2 of the
        images are diseased "M" or healthy "F". With 0 the four cells are equal, as exactly as
        `n_samples` allows; each label is balanced always.
    cells : mapping of (target, attribute) to int, default=None
        Number of images of each cell, such as ``{(0, "M"): 500, (0, "F"): 50, (1, "M"): 500,
        (1, "F"): 500}``; a missing cell is empty. Takes the place of `n_samples` and
        `correlation`.
    random_state : int, RandomState instance or None, default=None
        Seed. The same int gives the same bits. Anatomy, place of the opacity and texture phase of
        image i depend on the seed and i only, not on any other argument (the anatomy of
        another `image_size` differs); the labels of image i depend on the cell counts too.

    Returns
    -------
    sklearn.utils.Bunch
        images : ndarray of shape (n_samples, image_size, image_size), uint8
            The radiographs.
        target : ndarray of shape (n_samples,), int64
            1 for diseased, 0 for healthy.
        sensitive_features : pandas.Series of shape (n_samples,)
            The attribute, "F" or "M"; the name of the series is "sex".
        cue_mask : ndarray of shape (image_size, image_size), bool
            The place of the cue: no pixel outside it depends on the attribute.
        disease_mask : ndarray of shape (image_size, image_size), bool
            The zone that holds every opacity.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Drawings, not simulated physics, and the sexes of nobody: what holds here need not hold on
    radiographs. The labelled cells follow the training sets of Jin et al. (2024).

    Examples
    --------
    >>> from skdne.datasets import make_biased_images
    >>> data = make_biased_images(200, correlation=0.8, random_state=0)
    >>> data.images.shape, data.images.dtype
    ((200, 128, 128), dtype('uint8'))
    >>> float(((data.sensitive_features == "M") == data.target).mean())
    0.9
    >>> int(data.cue_mask.sum()) == 4 * 16**2
    True
    """
    _check("n_samples", n_samples, 1, np.inf, whole=True)
    _check("image_size", image_size, 32, 4096, whole=True)
    if image_size % 8:
        raise ValueError(f"image_size must be a multiple of 8; got {image_size}.")
    if cue not in _PLACES:
        raise ValueError(f"cue must be one of {list(_PLACES)}; got {cue!r}.")
    for name, value in (("cue_strength", cue_strength), ("disease_strength", disease_strength)):
        _check(name, value, 0, 1)
    _check("overlap", overlap, 0, 1)
    _check("correlation", correlation, -1, 1)
    if overlap and cue not in _COMPACT:
        raise ValueError(f"overlap moves one of the cues {_COMPACT}; use overlap=0 with {cue!r}.")
    counts = _cell_counts(n_samples, correlation) if cells is None else dict(cells)
    if unknown := [cell for cell in counts if cell not in _CELLS]:
        raise ValueError(f"cells must have keys of {_CELLS}; got {unknown}.")
    for cell, count in counts.items():
        _check(f"cells[{cell}]", count, 0, np.inf, whole=True)
    if sum(counts.values()) == 0:
        raise ValueError("cells must hold one image at least; all counts are 0.")

    seed = int(check_random_state(random_state).randint(2**31))
    order = np.repeat(np.arange(4), [counts.get(cell, 0) for cell in _CELLS])
    order = np.random.default_rng([seed, 0]).permutation(order)
    target, is_m = order // 2, order % 2
    places = _cue_places(image_size, cue, overlap)
    amplitude = np.float32(cue_strength * (0.25 if cue == "global" else 1))
    images = np.empty((len(order), image_size, image_size), dtype=np.uint8)
    for chunk, start in enumerate(range(0, len(order), _CHUNK)):
        here = slice(start, start + _CHUNK)
        y, a = target[here, None, None], is_m[here]
        rng = np.random.default_rng([seed, 1 + chunk])
        anatomy, disease, attribute = (
            part[..., : len(a), :, :] for part in _draw_chunk(rng, image_size, cue, places)
        )
        pixels = anatomy + np.float32(disease_strength) * disease * y
        pixels += amplitude * attribute[a, np.arange(len(a))]
        images[here] = np.rint(255 * np.clip(pixels, 0, 1))
    return Bunch(
        images=images,
        target=target.astype(np.int64),
        sensitive_features=pd.Series(np.array(["F", "M"])[is_m], name="sex"),
        cue_mask=np.any(places, axis=0) if places else np.zeros((image_size,) * 2, dtype=bool),
        disease_mask=_box(image_size, _DISEASE_ZONE),
    )
