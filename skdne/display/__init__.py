"""Pictures of a noise, of leakage, of a search and of several systems, as scikit-learn's displays.

They hold data and draw it: ``from_estimator`` and ``from_predictions`` do both, ``plot`` draws
again. matplotlib is needed: ``pip install "skdne[plot]"``.
"""

from skdne.display._frontier import FrontierDisplay
from skdne.display._leakage import LeakageDisplay
from skdne.display._noise import NoiseDisplay
from skdne.display._search import SearchDisplay

__all__ = ["FrontierDisplay", "LeakageDisplay", "NoiseDisplay", "SearchDisplay"]
