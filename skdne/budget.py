"""Counting the images that are sent to the encoder, and the bound on them."""

from __future__ import annotations


class BudgetExhaustedError(RuntimeError):
    """The next query would exceed ``max_queries``; raised before it is sent."""


class QueryBudget:
    """A count of the images sent to an encoder that never passes its limit.

    Parameters
    ----------
    limit : int or None
        Most images that may be sent; None for no bound.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.spent = 0
        self.reserved = 0

    def reserve(self, n_images: int) -> None:
        """Keep ``n_images`` back for what must follow, the final measurements."""
        self.reserved += n_images

    def release(self) -> None:
        """Give back what was reserved."""
        self.reserved = 0

    def spend(self, n_images: int) -> None:
        """Count ``n_images`` that are about to be sent.

        Raises
        ------
        BudgetExhaustedError
            If they are too many; nothing is counted then.
        """
        if self.limit is not None and self.spent + n_images + self.reserved > self.limit:
            raise BudgetExhaustedError(
                f"{n_images} more images would exceed max_queries={self.limit} "
                f"({self.spent} sent, {self.reserved} kept for the final measurements)."
            )
        self.spent += n_images
