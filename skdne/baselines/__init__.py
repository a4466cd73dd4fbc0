"""The systems that debiased noise is compared with, each a scikit-learn estimator for a Pipeline.

Of the papers' table (beside :class:`~skdne.DebiasedNoiseTransformer`):

- :class:`LinearHeadClassifier` on embeddings: ERM by the papers' recipe;
- :class:`SketchTransformer` on images, before the encoder;
- :class:`GroupDROClassifier` and :class:`BatchSamplingClassifier` on embeddings;
- :class:`BiasAdvClassifier` on images, through the encoder's gradients; no attribute needed.

Beside it:

- :class:`ReweighedClassifier` on embeddings;
- :class:`ExponentiatedGradientClassifier`, :class:`ThresholdOptimizerClassifier` and
  :class:`CorrelationRemoverTransformer` on embeddings, which make fairlearn's methods fit into a
  routed Pipeline. The last two need the attribute at prediction, and say so in the class attribute
  ``needs_attribute_at_prediction``.

Those of the papers' table are re-implemented from the original works, with their defaults where the
papers give none.
"""

from skdne.baselines._batch_sampling import BatchSamplingClassifier
from skdne.baselines._bias_adv import BiasAdvClassifier
from skdne.baselines._correlation_remover import CorrelationRemoverTransformer
from skdne.baselines._exponentiated_gradient import ExponentiatedGradientClassifier
from skdne.baselines._group_dro import GroupDROClassifier
from skdne.baselines._line_drawings import canny, sobel, xdog
from skdne.baselines._linear_head import LinearHeadClassifier
from skdne.baselines._reweighing import ReweighedClassifier
from skdne.baselines._sketch import SketchTransformer
from skdne.baselines._threshold_optimizer import ThresholdOptimizerClassifier

__all__ = [
    "BatchSamplingClassifier",
    "BiasAdvClassifier",
    "CorrelationRemoverTransformer",
    "ExponentiatedGradientClassifier",
    "GroupDROClassifier",
    "LinearHeadClassifier",
    "ReweighedClassifier",
    "SketchTransformer",
    "ThresholdOptimizerClassifier",
    "canny",
    "sobel",
    "xdog",
]
