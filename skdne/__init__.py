"""Debiased Noise Editing for scikit-learn."""

from importlib.metadata import version

from skdne.diagnostics import DebiasingWarning
from skdne.display import NoiseDisplay
from skdne.embedding_eraser import EmbeddingEraser
from skdne.encoders import (
    CallableEncoder,
    Encoder,
    TimmEncoder,
    TorchEncoder,
    bundled_encoder,
)
from skdne.images import PixelRangeWarning
from skdne.solvers import SPSA, Adam, BlockErasure, GatedErasure, GeZO, NoiseSolver
from skdne.transformer import DebiasedNoiseTransformer

__version__ = version("skdne")

__all__ = [
    "SPSA",
    "Adam",
    "BlockErasure",
    "CallableEncoder",
    "DebiasedNoiseTransformer",
    "DebiasingWarning",
    "EmbeddingEraser",
    "Encoder",
    "GatedErasure",
    "GeZO",
    "NoiseDisplay",
    "NoiseSolver",
    "PixelRangeWarning",
    "TimmEncoder",
    "TorchEncoder",
    "bundled_encoder",
]
