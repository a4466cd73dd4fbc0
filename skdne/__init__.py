"""Debiased Noise Editing for scikit-learn."""

from importlib.metadata import version

from skdne.budget import BudgetExhaustedError
from skdne.canary import EncoderChangedError
from skdne.diagnostics import DebiasingWarning
from skdne.display import FrontierDisplay, LeakageDisplay, NoiseDisplay, SearchDisplay
from skdne.embedding_eraser import EmbeddingEraser
from skdne.encoders import (
    CallableEncoder,
    Encoder,
    HTTPEncoder,
    TimmEncoder,
    TorchEncoder,
    bundled_encoder,
)
from skdne.images import PixelRangeWarning
from skdne.query_estimate import QueryEstimate
from skdne.query_progress import QueryProgress
from skdne.solvers import SPSA, Adam, BlockErasure, GatedErasure, GeZO, NoiseSolver
from skdne.transformer import DebiasedNoiseTransformer

__version__ = version("skdne")

__all__ = [
    "SPSA",
    "Adam",
    "BlockErasure",
    "BudgetExhaustedError",
    "CallableEncoder",
    "DebiasedNoiseTransformer",
    "DebiasingWarning",
    "EmbeddingEraser",
    "Encoder",
    "EncoderChangedError",
    "FrontierDisplay",
    "GatedErasure",
    "GeZO",
    "HTTPEncoder",
    "LeakageDisplay",
    "NoiseDisplay",
    "NoiseSolver",
    "PixelRangeWarning",
    "QueryEstimate",
    "QueryProgress",
    "SearchDisplay",
    "TimmEncoder",
    "TorchEncoder",
    "bundled_encoder",
]
