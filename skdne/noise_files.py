"""Saving a fitted transformer's noise, and making a fitted transformer of a saved one."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdne.encoders import as_encoder
from skdne.fit_checks import check_stored_noise
from skdne.noise import StoredNoise, load_noise_file, save_noise_file


class NoiseFileMixin:
    """What DebiasedNoiseTransformer can do with files."""

    encoder: Any
    noise_: np.ndarray
    clip_: bool
    canary_: np.ndarray | None
    _n_features_out: int

    def save_noise(self, path: str | os.PathLike[str]) -> None:
        """Write the noise to a file.

        Parameters
        ----------
        path : path
            ``.safetensors`` keeps the encoder's fingerprint and the clipping; ``.pt`` is the DNE
            authors' format, for one plane without clipping.
        """
        check_is_fitted(self, "noise_")
        fingerprint = as_encoder(self.encoder).fingerprint
        stored = StoredNoise(
            self.noise_, self.clip_, fingerprint, self._n_features_out, self.canary_
        )
        save_noise_file(path, stored)

    @classmethod
    def load_noise(cls, path: str | os.PathLike[str], encoder=None) -> Self:
        """Make a fitted transformer from a noise file.

        Parameters
        ----------
        path : path
            ``.safetensors``, or the ``.pt`` of the DNE authors; no code in it is run.
        encoder : None, str or Encoder, default=None
            The encoder that the noise was learned for.

        Returns
        -------
        DebiasedNoiseTransformer

        Raises
        ------
        ValueError
            If the file holds no noise, or one for another encoder or image size.
        """
        stored = load_noise_file(path)
        phi = as_encoder(encoder)
        phi.load()
        check_stored_noise(stored, phi, os.fspath(path))
        self: Any = cls()
        self.encoder = encoder
        self.noise_ = stored.noise.astype(np.float32)
        self.clip_ = stored.clip
        self.canary_ = stored.canary
        n_features = stored.n_features
        if n_features is None:  # the authors' file does not say: ask the encoder once
            planes = stored.noise if stored.noise.ndim == 3 else stored.noise[None]
            channels = phi.n_channels or len(planes)
            black = np.zeros((1, channels, *stored.noise.shape[-2:]), dtype=np.float32)
            n_features = phi.embed(black).shape[1]
        self._n_features_out = n_features
        return self
