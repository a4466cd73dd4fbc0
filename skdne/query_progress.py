"""A callback that says what a fit will send, has sent, and has yet to send."""

from __future__ import annotations

import dataclasses
import datetime
import sys
import weakref
from typing import Any, TextIO

from skdne.query_estimate import QueryEstimate


@dataclasses.dataclass
class _Pace:
    """How fast one fit gets embeddings that the store does not have."""

    since: datetime.datetime  # when these counts were read
    asked: int = 0
    sent: int = 0
    paid: int = 0  # images of the epochs that were sent for the most part
    seconds: float = 0.0  # of these epochs

    def add(self, asked: int, sent: int) -> None:
        """Count an epoch: what the store knew comes at once, and says nothing of the rest."""
        now = datetime.datetime.now(datetime.UTC)
        asked_now, sent_now = asked - self.asked, sent - self.sent
        if 2 * sent_now >= asked_now:
            self.paid += min(asked_now, sent_now)  # what is sent twice is one embedding
            self.seconds += (now - self.since).total_seconds()
        self.since, self.asked, self.sent = now, asked, sent


class QueryProgress:
    """Callback that prints the plan of queries, and after each epoch how much of it is done.

    Set it on the transformer, or on a pipeline or search around it:
    ``search.set_callbacks(QueryProgress())``. Fits in threads and processes can share it; the lines
    of fits within others begin with their place.

    Parameters
    ----------
    stream : text stream or None, default=None
        Where to print; None is ``sys.stderr``. Worker processes print to their own ``sys.stderr``
        in any case, a stream cannot be sent to them.

    Notes
    -----
    The time left supposes that all which is yet to be asked for has to be sent, at the rate of the
    epochs that were. A fit that goes on over a store finds its first epochs there: they say nothing
    about that rate, and their lines name no time. Of a solver that erases blocks only a bound is
    known, which few fits come near; the time left is then a bound, too.

    Examples
    --------
    >>> import sys
    >>> from skdne import Adam, DebiasedNoiseTransformer, QueryProgress
    >>> from skdne.datasets import make_biased_images
    >>> data = make_biased_images(120, correlation=0, random_state=0)
    >>> solver = Adam(step_size=0.002, max_iter=1)
    >>> dne = DebiasedNoiseTransformer(
    ...     solver=solver, objective="confusion", leakage=False, random_state=0
    ... )
    >>> dne = dne.set_callbacks(QueryProgress(sys.stdout))
    >>> dne = dne.fit(data.images, data.target, sensitive_features=data.sensitive_features)
    ... # doctest: +ELLIPSIS
    images of a fit with Adam
      clean embeddings      120
      noise fit              96
      final measurements    120
      in all                336  (6 requests of up to 64)
    The smallest max_queries is 336. What has to be sent again comes on top.
    epoch 1: 216 of 336 images asked for; 216 sent, ... images/s, about ... left
    done: 336 images asked for, 336 sent (max_iter)
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self._paces: weakref.WeakKeyDictionary[Any, _Pace] = weakref.WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        QueryProgress.__init__(self)

    @property
    def max_propagation_depth(self) -> None:
        """Follow the transformer into any depth of pipelines and searches."""
        return

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing before the outermost fit.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : CallbackContext
            Its place among the fits; see scikit-learn.
        """

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing after the outermost fit.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : CallbackContext
            Its place among the fits; see scikit-learn.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Print the plan where a transformer's fit begins.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : CallbackContext
            Its place among the fits; see scikit-learn.
        """
        if context.task_name != "epoch" and _plan(estimator) is not None:
            self._paces[context] = _Pace(datetime.datetime.now(datetime.UTC))
            limit = estimator.max_queries
            bound = f"\nmax_queries={limit:,} ends it earlier." if _ends(estimator) else ""
            self._print(context, f"{estimator.query_plan_}{bound}")

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any) -> None:
        """Print what is done after an epoch, and after the fit.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : CallbackContext
            Its place among the fits; see scikit-learn.
        fitted_estimator : estimator
            After an epoch a copy with what was reached, else the estimator.
        """
        plan = _plan(estimator)
        if plan is None:
            return
        if context.task_name != "epoch":
            self._print(
                context,
                f"done: {estimator.n_queries_:,} images asked for, {estimator.n_sent_:,} sent "
                f"({estimator.stop_reason_})",
            )
            return
        asked, sent = fitted_estimator.n_queries_, fitted_estimator.n_sent_
        in_all = estimator.max_queries if _ends(estimator) else plan.most
        is_bound = plan.least < in_all
        line = (
            f"epoch {context.task_id + 1}: {asked:,} of {'at most ' * is_bound}{in_all:,} images "
            f"asked for; {sent:,} sent"
        )
        pace = self._paces[context.parent]
        pace.add(asked, sent)
        if pace.seconds > 0 and pace.paid:
            left = datetime.timedelta(seconds=round((in_all - asked) * pace.seconds / pace.paid))
            line += f", {pace.paid / pace.seconds:,.0f} images/s, "
            line += f"{'at most' if is_bound else 'about'} {left} left"
        self._print(context.parent, line)

    def _print(self, context: Any, text: str) -> None:
        """Write whole lines at once, so that those of several threads do not mix."""
        place = []
        while context.parent is not None:
            place.append(str(context.task_id))
            context = context.parent
        before = f"[{'.'.join(reversed(place))}] " if place else ""
        stream = sys.stderr if self.stream is None else self.stream
        stream.write("".join(f"{before}{line}\n" for line in text.splitlines()))
        stream.flush()


def _plan(estimator: Any) -> QueryEstimate | None:
    """Return the plan of a transformer that is being fitted; None of any other estimator."""
    return getattr(estimator, "query_plan_", None)


def _ends(estimator: Any) -> bool:
    """Whether ``max_queries`` is below what the plan allows for."""
    limit = estimator.max_queries
    return limit is not None and limit < estimator.query_plan_.most
