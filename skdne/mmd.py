"""Maximum mean discrepancy: how far two groups of embeddings are apart, whatever a probe would be.

Gretton et al. 2012, "A kernel two-sample test" (JMLR 13), Eq. 3: MMD^2 is 0 iff two distributions
are the same, so its gradient goes on where a linear probe is fooled already.
"""

from __future__ import annotations

import torch

BANDWIDTHS = (0.25, 0.5, 1.0)  # of the RBF kernels, in units of the mean squared distance


def mmd2(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Unbiased estimate of MMD^2, summed over the bandwidths.

    Parameters
    ----------
    first, second : Tensor of shape (n, d), (m, d)
        Two rows at least in each.

    Returns
    -------
    Tensor of shape ()
        May be slightly negative where the groups are alike.
    """
    n, m = len(first), len(second)
    Z = torch.cat([first, second])
    squared = torch.cdist(Z, Z, compute_mode="donot_use_mm_for_euclid_dist").square()
    scale = squared.detach().mean().clamp(min=1e-12)
    total = Z.new_zeros(())
    for h in BANDWIDTHS:
        K = torch.exp(-squared / (h * scale))
        within_first = (K[:n, :n].sum() - n) / (n * (n - 1))  # the diagonal is 1
        within_second = (K[n:, n:].sum() - m) / (m * (m - 1))
        total = total + within_first + within_second - 2 * K[:n, n:].mean()
    return total


def group_discrepancy(embeddings: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """MMD^2 of each class against the rest, their mean, on embeddings standardised together.

    Parameters
    ----------
    embeddings : Tensor of shape (n, d)
    codes : Tensor of shape (n,), int
        Class index of the attribute; two rows at least of each class.

    Returns
    -------
    Tensor of shape ()
    """
    spread = embeddings.std(dim=0, correction=0)
    Z = (embeddings - embeddings.mean(dim=0)) / torch.where(spread > 1e-6, spread, torch.inf)
    classes = codes.unique()
    one_against_rest = classes[1:] if len(classes) == 2 else classes
    return torch.stack([mmd2(Z[codes == k], Z[codes != k]) for k in one_against_rest]).mean()
