"""The method's mathematics: what is minimised over the noise eps, as a value and a gradient.

Symbols of the paper (Jin et al. 2024, section 2.2) and their names here:

=============  ==========================================================
x_i, a_i       ``images``, ``codes`` (class index of the attribute)
eps            ``noise``; a solver moves its parameters ``theta``
phi            ``encoder``
g              ``attribute_classifier`` (frozen while eps moves)
lambda         ``reg_lambda``
=============  ==========================================================
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from skdne.attribute import cell_index
from skdne.attribute_classifier import AttributeClassifier
from skdne.auc import conditional_auc
from skdne.budget import QueryBudget
from skdne.canary import Canary
from skdne.distributed import add_up, my_part
from skdne.embedding import embed_edits
from skdne.encoders import Encoder, TorchBackend
from skdne.images import Images
from skdne.noise import NoiseSpace, add_noise

OBJECTIVES = ("cross_entropy", "confusion")


def attribute_loss(log_p: torch.Tensor, codes: torch.Tensor, objective: str) -> torch.Tensor:
    """Loss of each image, from g's log-probabilities ``log_p`` (b, K); low means hidden.

    ``"cross_entropy"`` (Eq. 2): -CE(a_i, g(z_i)) = log p(a_i). It has no lower bound: it rewards
    ever more wrong predictions of this one g. ``"confusion"``: CE(uniform, g(z_i)) =
    -1/K sum_k log p_k, smallest (log K) where g cannot tell; the uniform-confusion loss of Tzeng
    et al. 2015 (Simultaneous deep transfer across domains and tasks, Eq. 4).
    """
    if objective == "cross_entropy":
        return log_p.gather(1, codes[:, None])[:, 0]
    return -log_p.mean(dim=1)


class Objective:
    """L(eps) = weighted mean over images of the attribute loss + lambda ||eps||_2 (Eq. 2).

    With equal weights and ``"cross_entropy"`` this is Eq. 2 to the letter. A solver calls
    :meth:`value` (black box) or :meth:`value_and_gradient` (white box) on rows of the SA images;
    that is the only difference between the two.

    Parameters
    ----------
    encoder : Encoder
    images : Images
    image_rows : ndarray of shape (n,), int
        The SA images that the noise is fitted on, as rows of ``images``.
    codes : ndarray of shape (n,), int
        Class index of the attribute.
    weights : ndarray of shape (n,)
        1 for all, or balancing (y, a) cells; of any mean, see :meth:`shares`.
    attribute_classifier : AttributeClassifier
    space : NoiseSpace
    objective : {"cross_entropy", "confusion"}
    reg_lambda : float
    clip : bool
        Clip x + eps to [0, 1].
    budget : QueryBudget
        Every image that is sent to the encoder is counted here.
    strata, groups : ndarray of shape (n,) or None
        Class index of y, and patients, for solvers that draw by them.
    selection : Objective or None
        The same over the selection set, for solvers that judge by images they did not learn from.
    canary : Canary or None
        Notices a changed model before g stumbles over embeddings of another length.
    """

    def __init__(
        self,
        encoder: Encoder,
        images: Images,
        image_rows: np.ndarray,
        codes: np.ndarray,
        weights: np.ndarray,
        attribute_classifier: AttributeClassifier,
        space: NoiseSpace,
        *,
        objective: str,
        reg_lambda: float,
        clip: bool,
        budget: QueryBudget,
        strata: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        selection: Objective | None = None,
        canary: Canary | None = None,
    ) -> None:
        self.encoder = encoder
        self.images = images
        self.image_rows = image_rows
        self.codes = codes
        self.weights = weights
        self.attribute_classifier = attribute_classifier
        self.space = space
        self.objective = objective
        self.reg_lambda = reg_lambda
        self.clip = clip
        self.budget = budget
        self.strata = strata
        self.groups = groups
        self.selection = selection
        self.canary = canary

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def cells(self) -> np.ndarray:
        """Index of the (y, a) cell of each image; of the attribute where there is no y."""
        return self.codes if self.strata is None else cell_index(self.codes, self.strata)

    def subset(self, rows: np.ndarray) -> Objective:
        """The same over some of its images; weights then have mean 1 over those."""
        part = copy.copy(self)
        for name in ("image_rows", "codes", "weights", "strata", "groups"):
            of_all = getattr(self, name)
            setattr(part, name, None if of_all is None else of_all[rows])
        return part

    def shares(self, rows: np.ndarray) -> np.ndarray:
        """What the loss of each of ``rows`` counts, where all rows were as likely to be drawn.

        Weights have mean 1 over the set, not over the batch: so a batch of any size has the L(eps)
        and the gradient of the set on average. Divided by their own sum in a batch of two, weights
        would all but cancel.
        """
        return self.weights[rows] / self.weights.mean() / len(rows)

    def value(
        self, theta: torch.Tensor, rows: np.ndarray, shares: np.ndarray | None = None
    ) -> float:
        """L(eps) on ``rows``, from embeddings alone; costs ``len(rows)`` queries.

        ``shares`` is what the loss of each row counts; None: :meth:`shares`.
        """
        return self.values([(theta, rows, self.shares(rows) if shares is None else shares)])[0]

    def values(
        self, candidates: Sequence[tuple[torch.Tensor, np.ndarray, np.ndarray]]
    ) -> list[float]:
        """L(eps) of several candidates, each on rows of its own; a service gets them together.

        A candidate is theta, the rows, and what the loss of each counts. Where the budget cannot
        pay for all, nothing is sent.
        """
        self.budget.require(sum(len(rows) for _, rows, _ in candidates))
        with torch.no_grad():
            edits = [(self.space.expand(theta), rows) for theta, rows, _ in candidates]
            return [
                self._value(self.attribute_classifier, Z, self.codes[rows], shares, noise)
                for (noise, _), (_, rows, shares), Z in zip(
                    edits, candidates, self.embed_each(edits), strict=True
                )
            ]

    def value_of_embeddings(
        self,
        g: AttributeClassifier,
        embeddings: np.ndarray,
        codes: np.ndarray,
        weights: np.ndarray,
        noise: torch.Tensor,
    ) -> float:
        """L(eps) over a whole set whose phi(x + eps) is there already; costs nothing."""
        return self._value(g, embeddings, codes, weights / weights.sum(), noise)

    def _value(
        self,
        g: AttributeClassifier,
        embeddings: np.ndarray,
        codes: np.ndarray,
        shares: np.ndarray,
        noise: torch.Tensor,
    ) -> float:
        """L(eps) from embeddings of edited images; ``shares`` is what each one's loss counts."""
        log_p = g.log_proba(torch.from_numpy(embeddings))
        loss = attribute_loss(log_p, torch.from_numpy(codes), self.objective)
        counted = torch.from_numpy(shares.astype(np.float32)) * loss
        return float(counted.sum() + self._penalty(noise))

    @torch.enable_grad()  # also where fit is called under torch.no_grad()
    def value_and_gradient(
        self, theta: torch.Tensor, rows: np.ndarray
    ) -> tuple[float, torch.Tensor]:
        """L(eps) on ``rows`` and its gradient in theta, through the encoder."""
        assert isinstance(self.encoder, TorchBackend)
        device = self.encoder.torch_device
        self.budget.spend(len(rows))
        theta = theta.detach().requires_grad_(True)
        theta.grad = torch.zeros_like(theta)
        mine = my_part(np.arange(len(rows)))
        self.budget.send(len(mine))
        shares = torch.from_numpy(self.shares(rows)[mine].astype(np.float32)).to(device)
        codes = torch.from_numpy(self.codes[rows[mine]]).to(device)
        value = 0.0
        size = self.encoder.batch_size
        for start in range(0, len(mine), size):  # memory is bounded by the encoder's batch size
            chunk = slice(start, start + size)
            stored = self.images.stored(self.image_rows[rows[mine[chunk]]])
            x = self.encoder.on_device(stored, self.images.shape[0])
            noise = self.space.expand(theta).to(device)
            embeddings = self.encoder.forward(add_noise(x, noise, self.clip))
            log_p = self.attribute_classifier.log_proba(embeddings)
            loss = attribute_loss(log_p, codes[chunk], self.objective)
            part = (shares[chunk] * loss).sum()
            part.backward()
            value += part.item()
        value, theta.grad = add_up(value, theta.grad)
        penalty = self._penalty(self.space.expand(theta))
        penalty.backward()
        return value + penalty.item(), theta.grad

    def embed(self, noise: torch.Tensor, rows: np.ndarray) -> np.ndarray:
        """phi(x + eps) of ``rows``, counted."""
        return next(self.embed_each([(noise, rows)]))

    def embed_each(self, edits: Sequence[tuple[torch.Tensor, np.ndarray]]) -> Iterator[np.ndarray]:
        """phi(x + eps) for each noise and its rows, in order, counted as each is begun."""
        edited = [(noise, self.image_rows[rows]) for noise, rows in edits]
        for Z in embed_edits(self.encoder, self.images, edited, self.clip, self.budget):
            if self.canary is not None:
                self.canary.check_length(Z.shape[1])
            yield Z

    def embed_for_gradient(
        self, gates: torch.Tensor, fill: torch.Tensor, rows: np.ndarray
    ) -> torch.Tensor:
        """phi((1 - m) x + m fill) of ``rows``, for gates m and a fill of shape (H, W), counted.

        With gradients to the gates; the graph of all rows stays in memory.
        """
        assert isinstance(self.encoder, TorchBackend)
        self.budget.spend(len(rows))
        self.budget.send(len(rows))
        embeddings = []
        for _, batch in self.images.batches(self.encoder.batch_size, self.image_rows[rows]):
            x = torch.from_numpy(batch).to(self.encoder.torch_device)
            embeddings.append(self.encoder.forward((1 - gates) * x + gates * fill))
        return torch.cat(embeddings)

    def retrained(self, theta: torch.Tensor) -> AttributeClassifier:
        """Return a g trained anew on the edited images; costs one query for each image."""
        embeddings = self.embed(self.space.expand(theta), np.arange(len(self)))
        g = copy.copy(self.attribute_classifier)
        g.fit(embeddings, self.codes, self.weights)
        return g

    def held_out_auc(self, g: AttributeClassifier, theta: torch.Tensor) -> float:
        """AUC of g on the edited images of the selection set; costs one query for each."""
        judges = self.selection
        assert judges is not None
        Z = judges.embed(judges.space.expand(theta), np.arange(len(judges)))
        log_p = g.log_proba(torch.from_numpy(Z)).numpy()
        return conditional_auc(judges.codes, log_p, judges.strata)

    def _penalty(self, noise: torch.Tensor) -> torch.Tensor:
        # vector_norm: its gradient at 0 is 0; that of sqrt(sum(eps^2)) would be nan
        return self.reg_lambda * torch.linalg.vector_norm(noise)
