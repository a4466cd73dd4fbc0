"""Counting the images that are sent to the encoder, and the bound on them."""

from __future__ import annotations

import threading


class BudgetExhaustedError(RuntimeError):
    """The next query would exceed ``max_queries``; raised before it is sent."""


class QueryBudget:
    """Two counts of images, neither of which ever passes the limit. Safe to share by threads.

    What is *asked for* is the same in every run of a fit, so that a fit which a budget ends ends
    at the same place when it is run again over a store. What is *sent* is less, by what the store
    knew, or more, by what a faulty service made us send again: that is what is paid.

    Parameters
    ----------
    limit : int or None
        Most images that may be asked for, and most that may be sent; None for no bound.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.spent = 0
        self.sent = 0
        self.reserved = 0
        self._lock = threading.Lock()

    def reserve(self, n_images: int) -> None:
        """Keep ``n_images`` back for what must follow, the final measurements."""
        self.reserved += n_images

    def release(self) -> None:
        """Give back what was reserved."""
        self.reserved = 0

    def require(self, n_images: int) -> None:
        """Refuse what could not be asked for and sent in full, without counting it.

        Raises
        ------
        BudgetExhaustedError
        """
        with self._lock:
            self._check(n_images, max(self.spent, self.sent))

    def spend(self, n_images: int) -> None:
        """Count ``n_images`` that are about to be asked for.

        Raises
        ------
        BudgetExhaustedError
            If they are too many; nothing is counted then.
        """
        with self._lock:
            self._check(n_images, max(self.spent, self.sent))
            self.spent += n_images

    def send(self, n_images: int) -> None:
        """Count ``n_images`` that are about to be sent, for the first time or again.

        Raises
        ------
        BudgetExhaustedError
            If they are too many; nothing is counted then.
        """
        with self._lock:
            self._check(n_images, self.sent)
            self.sent += n_images

    def _check(self, n_images: int, so_far: int) -> None:
        if self.limit is not None and so_far + n_images + self.reserved > self.limit:
            raise BudgetExhaustedError(
                f"{n_images} more images would exceed max_queries={self.limit} ({self.spent} asked "
                f"for, {self.sent} sent, {self.reserved} kept for the final measurements)."
            )
