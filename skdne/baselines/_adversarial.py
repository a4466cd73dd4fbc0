"""The mathematics of BiasAdv: the biased head's loss, and images that mislead that head alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

Heads = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def generalized_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, q: float) -> torch.Tensor:
    """(1 - p_y^q) / q, the mean over rows: it learns what is easy, such as a shortcut.

    Zhang, Sabuncu 2018, "Generalized cross entropy loss for training deep neural networks with
    noisy labels", Eq. 6.
    """
    p = torch.softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    return ((1 - p**q) / q).mean()


def attack_gradient(
    x: torch.Tensor, labels: torch.Tensor, heads: Heads, reg_lambda: float
) -> torch.Tensor:
    """Gradient in x of ``CE(g(x), y) - reg_lambda CE(f(x), y)``, summed over images.

    ``heads`` maps images to the logits of f, the head that is wanted, and of g, the biased one: in
    one pass through the encoder that they share.
    """
    x = x.detach().requires_grad_(True)
    f, g = heads(x)
    value = cross_entropy(g, labels, reduction="sum")
    value = value - reg_lambda * cross_entropy(f, labels, reduction="sum")
    return torch.autograd.grad(value, x)[0]


def adversarial_images(
    x: torch.Tensor,
    labels: torch.Tensor,
    heads: Heads,
    *,
    eps: float,
    n_steps: int,
    reg_lambda: float,
) -> torch.Tensor:
    """Ascend :func:`attack_gradient` by its sign, within ``eps`` of x and within [0, 1].

    Steps are ``2.5 eps / n_steps`` long (Madry et al. 2018), so that the bound can be reached.
    """
    low = torch.maximum(x - eps, x.clamp(max=0))
    high = torch.minimum(x + eps, x.clamp(min=1))
    adversarial = x
    for _ in range(n_steps):
        gradient = attack_gradient(adversarial, labels, heads, reg_lambda)
        adversarial = adversarial + 2.5 * eps / n_steps * gradient.sign()
        adversarial = torch.minimum(torch.maximum(adversarial, low), high)
    return adversarial
