"""Data to try and to test with."""

import json
from importlib import resources

from safetensors import safe_open

from skdne.datasets.biased_split import BiasedSplit, biased_split
from skdne.datasets.cells import PAPER_CELLS, PaperCells, scale_cells
from skdne.datasets.chexpert import CHEXPERT_FINDINGS, load_chexpert
from skdne.datasets.image_table import ImageTable, load_image_table
from skdne.datasets.nih import NIH_FINDINGS, load_nih_chest_xray14
from skdne.datasets.plant import plant_opacity, plant_stamp
from skdne.datasets.synthetic import make_biased_images

__all__ = [
    "CHEXPERT_FINDINGS",
    "NIH_FINDINGS",
    "PAPER_CELLS",
    "BiasedSplit",
    "ImageTable",
    "PaperCells",
    "biased_split",
    "encoder_training_patients",
    "load_chexpert",
    "load_image_table",
    "load_nih_chest_xray14",
    "make_biased_images",
    "plant_opacity",
    "plant_stamp",
    "scale_cells",
]


def encoder_training_patients() -> list[int]:
    """List the NIH ChestX-ray14 patients whose images the bundled encoder was trained on.

    Leave them out of every figure that is reported for the bundled encoder. The list is read from
    the header of its weights, where the training script wrote it.

    Returns
    -------
    list of int
        Patient ids, the numbers before the underscore in the file names, ascending.

    Examples
    --------
    >>> from skdne.datasets import encoder_training_patients
    >>> 75 in encoder_training_patients() or 100 in encoder_training_patients()
    True
    """
    weights = resources.files("skdne.encoders") / "bundled.safetensors"
    with resources.as_file(weights) as path, safe_open(path, framework="numpy") as file:
        return sorted(json.loads(file.metadata()["nih_patients"]))
