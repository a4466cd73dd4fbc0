"""What a fit will send to the encoder, known before anything is sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from skdne.blocks import BlockGrid
from skdne.canary import N_CANARIES
from skdne.encoders import Encoder, as_encoder
from skdne.images import check_images
from skdne.splits import three_sets

if TYPE_CHECKING:  # the solvers use `bill`
    from skdne.solvers import NoiseSolver

Span = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class QueryEstimate:
    """Images that a fit asks an encoder to embed, at least and at most; print it as a plan.

    A store on the encoder sends less; a service that fails is sent some images again, which comes
    on top, up to ``max_queries``.

    Parameters
    ----------
    solver : str or None
        Class name of the solver.
    batch_size : int
        Images of one request, at most.
    clean : int
        Images embedded as they are, for the attribute classifier and what is measured before.
    noise_fit : (int, int)
        Images of the solver.
    final : (int, int)
        Images embedded with the noise, to measure what it does.
    canary : (int, int)
        Images that tell whether a remote encoder is still the same model.
    requests : (int, int)
        Requests for all of them.
    minimum : int
        Smallest ``max_queries`` that fit accepts.

    Examples
    --------
    >>> from skdne import SPSA, DebiasedNoiseTransformer
    >>> solver = SPSA(max_iter=5, n_local_iter=10, n_pairs=5, batch_size=32)
    >>> plan = DebiasedNoiseTransformer(solver=solver).estimate_queries(1000)
    >>> plan.least, plan.most
    (18000, 18000)
    >>> plan.cost(price_per_thousand=0.5)
    (9.0, 9.0)
    >>> print(plan)
    images of a fit with SPSA
      clean embeddings       1,000
      noise fit             16,000
      final measurements     1,000
      in all                18,000  (282 requests of up to 64)
    The smallest max_queries is 5,200. What has to be sent again comes on top.
    """

    solver: str | None
    batch_size: int
    clean: int
    noise_fit: Span
    final: Span
    canary: Span
    requests: Span
    minimum: int

    @property
    def least(self) -> int:
        """Images in all, where every choice on the way is the cheaper one."""
        return self.clean + self.noise_fit[0] + self.final[0] + self.canary[0]

    @property
    def most(self) -> int:
        """Images in all, where every choice on the way is the dearer one."""
        return self.clean + self.noise_fit[1] + self.final[1] + self.canary[1]

    def cost(self, price_per_thousand: float) -> tuple[float, float]:
        """Price of the fit, at least and at most.

        Parameters
        ----------
        price_per_thousand : float
            Price of a thousand images, in any currency, at least 0.

        Returns
        -------
        (float, float)
        """
        price = price_per_thousand
        is_number = isinstance(price, Real) and not isinstance(price, bool)
        if not is_number or not 0 <= float(price) < np.inf:
            raise ValueError(f"price_per_thousand must be a number, at least 0, got {price!r}.")
        return self.least * float(price) / 1000, self.most * float(price) / 1000

    def __str__(self) -> str:
        rows: dict[str, Span] = {"clean embeddings": (self.clean, self.clean)}
        if self.solver is not None:
            rows |= {"noise fit": self.noise_fit, "final measurements": self.final}
        if self.canary[1]:
            rows["canary"] = self.canary
        rows["in all"] = (self.least, self.most)
        texts = {name: _text(span) for name, span in rows.items()}
        width = max(len(text) for text in texts.values())
        title = f"with {self.solver}" if self.solver else "without a noise"
        lines = [f"images of a fit {title}"]
        lines += [f"  {name:<20}  {text:>{width}}" for name, text in texts.items()]
        lines[-1] += f"  ({_text(self.requests)} requests of up to {self.batch_size})"
        lines.append(
            f"The smallest max_queries is {self.minimum:,}. What has to be sent again comes on top."
        )
        if self.canary[1]:
            lines.append(
                f"Each transform, also in a search, sends its images and {N_CANARIES} for the "
                "canary."
            )
        return "\n".join(lines)


def _text(span: Span) -> str:
    low, high = span
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def plan_queries(
    solver: NoiseSolver | None,
    encoder: Encoder,
    image_shape: tuple[int, ...],
    n_images: int,
    n_fit: int = 0,
    n_select: int = 0,
) -> QueryEstimate:
    """Count what a fit sends.

    Parameters
    ----------
    solver : NoiseSolver or None
    encoder : Encoder
    image_shape : tuple of int
        (C, H, W) of what the encoder sees.
    n_images : int
        SA images, or 1 if there is no attribute.
    n_fit, n_select : int
        SA images in the first two of the three sets.
    """
    b = encoder.batch_size
    everything = bill([(1, n_images)], b)
    check = bill([(1, N_CANARIES)], b) * encoder.remote
    fits = final = (0 * check, 0 * check)
    checks, minimum = (1, 1), n_images + int(check[0])  # one check before anything else
    if solver is not None:
        fits = solver.queries_in_all(n_fit, n_select, image_shape, encoder)
        # of a solver that erases: nothing to measure where nothing is erased, and it may end early
        final = (everything * solver.lowers_objective, everything)
        n_epochs, of_epoch = solver.n_epochs(image_shape, encoder), solver.queries_per_epoch(n_fit)
        if solver.lowers_objective:
            checks = (2 + solver.fewest_epochs(), 2 + n_epochs)
        else:
            checks = (1 + int(fits[0][0]) // of_epoch, 2 + n_epochs)
        useful = solver.queries_at_least(n_fit, image_shape, encoder)
        minimum = 2 * n_images + useful + int(check[0]) * (2 + useful // of_epoch)
    totals = [everything + f + e + check * n for f, e, n in zip(fits, final, checks, strict=True)]
    return QueryEstimate(
        solver=type(solver).__name__ if solver is not None else None,
        batch_size=int(b),
        clean=n_images,
        noise_fit=(int(fits[0][0]), int(fits[1][0])),
        final=(int(final[0][0]), int(final[1][0])),
        canary=(int(check[0]) * checks[0], int(check[0]) * checks[1]),
        requests=(int(totals[0][1]), int(totals[1][1])),
        minimum=minimum,
    )


def bill(streams: Iterable[tuple[int, int]], batch_size: int) -> np.ndarray:
    """Images and requests of streams, each of which fills its batches but for the last.

    Parameters
    ----------
    streams : iterable of (int, int)
        How many of them, and the images of each.
    batch_size : int
        Images of one request, at most.

    Returns
    -------
    ndarray of shape (2,), int

    Examples
    --------
    >>> bill([(10, 64), (1, 100)], batch_size=32).tolist()
    [740, 24]
    """
    total = np.zeros(2, dtype=np.int64)
    for times, n_images in streams:
        total += times * np.array([n_images, -(-n_images // batch_size)])
    return total


def n_erasable(grid: BlockGrid, max_area: float) -> int:
    """Blocks of which no more fit into this part of the image, even if they are the smallest."""
    sides = [
        np.minimum(grid.size, length - np.arange(0, length, grid.size))
        for length in grid.image_size
    ]
    areas = np.sort(np.outer(*sides).ravel()) / np.prod(grid.image_size)
    return int(np.sum(np.cumsum(areas) <= max_area + 1e-9))


class QueryEstimateMixin:
    """What DebiasedNoiseTransformer can say before it is fitted."""

    encoder: Any
    solver: Any
    image_shape: Any
    leakage: bool
    subsample: int | None

    def estimate_queries(
        self, n_samples: int, image_shape: Sequence[int] | None = None
    ) -> QueryEstimate:
        """Say how many images fit will send to the encoder; none is sent for it.

        Parameters
        ----------
        n_samples : int
            Images that have an attribute.
        image_shape : tuple of int or None, default=None
            Shape of an image of X, (H, W), (C, H, W) or (H, W, C). Only the solvers that erase
            blocks need it, and only where neither ``input_size`` of the encoder nor
            ``image_shape`` of the transformer says it.

        Returns
        -------
        QueryEstimate
            ``print`` it; ``least``, ``most`` and ``cost(price_per_thousand)`` are figures.

        Raises
        ------
        ValueError

        Notes
        -----
        For ``"adam"``, ``"gezo"``, ``"spsa"`` and None the estimate is what ``n_queries_`` will be,
        unless a callback, ``n_iter_no_change`` or ``max_queries`` ends the fit; without an
        attribute a fit with ``solver=None`` embeds one image. The split into three sets goes by
        patient where ``groups`` are given, and leaves nothing out where a class of the attribute
        has fewer than ten images: then Adam, and the training of g anew, take some images more or
        less.
        ``query_plan_`` of the fitted transformer knows the split.

        The solvers that erase look further where they find something. ``most`` is a bound, which
        few fits come near; it and ``least`` suppose (y, attribute) cells that can each give their
        share of the solver's ``n_images``.

        ``transform`` is not included. It sends each of its images, and for a remote encoder four
        more by which its model is recognised, each time it is called: also by a pipeline, once
        for each fold of a search, its training part included.
        """
        from skdne.solvers import as_solver

        if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < 1:
            raise ValueError(f"n_samples must be a whole number, at least 1, got {n_samples!r}.")
        solver, encoder = as_solver(self.solver), as_encoder(self.encoder)
        shape = (1, 1, 1)  # of no consequence for the other solvers
        if solver is not None and not solver.lowers_objective:
            encoder.load()  # some know their size and patches only then
            shape = self._shape_seen(encoder, image_shape)
        n = min(int(n_samples), self.subsample or int(n_samples))
        halves = np.arange(n) % 2
        sets = three_sets(halves, halves, None, self.leakage, 0)
        return plan_queries(solver, encoder, shape, n, len(sets.fit), len(sets.select))

    def _shape_seen(self, encoder: Encoder, image_shape: Sequence[int] | None) -> tuple[int, ...]:
        """(C, H, W) as the encoder gets images of X."""
        given = image_shape if image_shape is not None else self.image_shape
        if encoder.input_size is not None:
            return (encoder.n_channels or 1, *encoder.input_size)
        if given is None:
            raise ValueError(
                f"image_shape is needed: how many blocks solver {self.solver!r} looks at depends "
                f"on the size of the images, and this {type(encoder).__name__} takes any. Give "
                "that of X, such as estimate_queries(1000, image_shape=(224, 224))."
            )
        black_and_white = np.resize(np.array([0, 255], dtype=np.uint8), (1, _product(given)))
        return check_images(black_and_white, image_shape=given, n_channels=encoder.n_channels).shape


def _product(image_shape: Any) -> int:
    """Pixels of an image; 1 where the shape is none, which `check_images` then says."""
    try:
        return max(1, int(np.prod(tuple(image_shape))))
    except TypeError:
        return 1
