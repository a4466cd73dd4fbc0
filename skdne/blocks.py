"""Blocks of the image, and the noise that saturates some of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

FILLS = ("black", "white", "checkerboard")
MOST_BLOCKS = 64  # with the default size: every block is shown to the encoder with many images


def default_block_size(image_size: tuple[int, ...], patch_size: int | None) -> int:
    """Smallest multiple of the encoder's patch size that parts the image into 64 blocks at most.

    A block that cuts no patch leaves what it does not cover undisturbed. Without a known patch size
    any size will do.
    """
    unit = patch_size or 1
    size = unit
    while np.prod([-(-length // size) for length in image_size]) > MOST_BLOCKS:
        size += unit
    return size


@dataclasses.dataclass(frozen=True)
class BlockGrid:
    """The image parted into square blocks; those at the right and lower edge may be smaller.

    An erased block is filled by clipping: x + eps with eps = -1 is black whatever x is, with +1
    white. A weaker noise would not do: what varies beneath it is still there to be read.

    Parameters
    ----------
    image_size : (int, int)
        Height and width, in pixels.
    size : int
        Side of a block, in pixels.
    fill : {"black", "white", "checkerboard"}
        What erased pixels become; a checkerboard is black and white by turns.
    """

    image_size: tuple[int, int]
    size: int
    fill: str

    @property
    def shape(self) -> tuple[int, int]:
        """Blocks down and across."""
        height, width = (-(-length // self.size) for length in self.image_size)
        return height, width

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1]

    def pixels(self, blocks: np.ndarray) -> np.ndarray:
        """Spread one value for each block, of shape (n_blocks,), to the pixels (H, W)."""
        values = blocks.reshape(self.shape)
        values = values.repeat(self.size, axis=0).repeat(self.size, axis=1)
        return values[: self.image_size[0], : self.image_size[1]]

    def noise(self, erased: np.ndarray) -> torch.Tensor:
        """The noise (1, H, W) that erases these blocks, a mask of shape (n_blocks,)."""
        noise = np.where(self.pixels(erased), self._saturating(), 0).astype(np.float32)
        return torch.from_numpy(noise)[None]

    def filled(self) -> torch.Tensor:
        """The image (H, W) that remains where everything is erased, in [0, 1]."""
        return torch.from_numpy(self._saturating()).clamp(0, 1)

    def area(self, erased: np.ndarray) -> float:
        """Part of the image that these blocks cover."""
        return float(self.pixels(erased).mean())

    def window(self, block: int) -> np.ndarray:
        """Mask of a block and its up to eight neighbours."""
        rows, columns = np.divmod(np.arange(len(self)), self.shape[1])
        row, column = divmod(block, self.shape[1])
        return (abs(rows - row) <= 1) & (abs(columns - column) <= 1)

    def corners(self) -> np.ndarray:
        """Top and left of each block in pixels, (n_blocks, 2)."""
        return self.size * np.column_stack(np.divmod(np.arange(len(self)), self.shape[1]))

    def _saturating(self) -> np.ndarray:
        if self.fill == "checkerboard":
            odd = np.add.outer(*(np.arange(length) for length in self.image_size)) % 2
            return np.where(odd, 1.0, -1.0).astype(np.float32)
        return np.full(self.image_size, -1.0 if self.fill == "black" else 1.0, np.float32)
