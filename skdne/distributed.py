"""A noise fit shared by several processes, as torchrun starts them: one all-reduce for each step.

Every process runs the same script on the same images. Each passes its part of a batch through its
encoder, the gradients of the one noise are added up, and all take the same step. Nothing is to be
switched on: it happens where ``torch.distributed.is_initialized()``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import distributed

from skdne.encoders._base import digest


def is_shared() -> bool:
    """Whether this process is one of several."""
    return distributed.is_available() and distributed.is_initialized()


def my_part(rows: np.ndarray) -> np.ndarray:
    """The rows that are this process's to do; of one process all."""
    return rows[distributed.get_rank() :: distributed.get_world_size()] if is_shared() else rows


def add_up(value: float, gradient: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Sum a value and a gradient over the processes."""
    if not is_shared():
        return value, gradient
    total = torch.cat([gradient.flatten(), gradient.new_tensor([value])])
    # NCCL adds up on the device alone
    device = "cuda" if distributed.get_backend() == "nccl" else gradient.device
    total = total.to(device)
    distributed.all_reduce(total)
    total = total.to(gradient.device)
    return float(total[-1]), total[:-1].reshape(gradient.shape)


def check_same_fit(*parts: Any) -> None:
    """Refuse a fit that is not the same in all processes.

    Raises
    ------
    ValueError
        In each process, before any work.
    """
    if not is_shared():
        return
    digests: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(digests, digest(*parts))
    if len(set(digests)) > 1:
        raise ValueError(
            "torch.distributed is initialised, so the noise fit is shared by its processes, but "
            "they do not fit the same. Give every process the same images and labels, and an int "
            "as random_state; to fit apart, fit before init_process_group, or after "
            "destroy_process_group."
        )
