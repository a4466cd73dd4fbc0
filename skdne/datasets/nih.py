"""Read NIH ChestX-ray14: the official release, or a folder of images with a metadata.csv."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from skdne.datasets.image_table import (
    ImageTable,
    age_band,
    check_files,
    named,
    read_table,
    text_column,
)

NIH_FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
_MAX_AGE = 120  # the first release holds ages up to 414
_YEARS = {"Y": 1.0, "M": 1 / 12, "D": 1 / 365.25}


class _Columns(NamedTuple):
    image: str
    findings: str
    patient: str
    age: str
    sex: str
    view: str


_COMPACT = _Columns("image", "findings", "patient_id", "age", "sex", "view")


def load_nih_chest_xray14(
    root: str | os.PathLike[str],
    *,
    csv: str | os.PathLike[str] | None = None,
    age_threshold: float = 60,
) -> ImageTable:
    """Read NIH ChestX-ray14, all of it or a part.

    Parameters
    ----------
    root : path
        The folder of the official release: ``Data_Entry_2017*.csv``, and the images in
        ``images_001/images`` and so on, or in ``images``. Or a compact one: ``metadata.csv`` with
        the columns image, patient_id, age, sex, view and findings, and ``images``.
    csv : path or None, default=None
        The list of images, absolute or in ``root``. None takes the newest ``Data_Entry_2017*.csv``,
        else ``metadata.csv``. Whoever has a part of the images gives a list of that part.
    age_threshold : float, default=60
        Years; attribute ``age_band`` is "over 60" or "up to 60".

    Returns
    -------
    ImageTable
        ``findings``: "No Finding" and the 14 of the release, 0 and 1. ``attributes``: ``sex`` ("F",
        "M"), ``age_band``, ``view`` ("AP", "PA"). ``patients``: ids without leading zeros.

    Raises
    ------
    FileNotFoundError
        If there is no CSV, or image files that it lists are missing; the first few are named.
    ValueError
        If a column is missing, a value is not one of the release's, or an image is listed twice.

    Notes
    -----
    Findings were mined from text and are about 90% accurate. Ages are read in years, from "061Y",
    "011M" or "003D" too; ages above 120, errors of the first release, are missing. The bundled
    encoder was trained on some of these patients:
    :func:`~skdne.datasets.encoder_training_patients` lists them.

    References
    ----------
    Wang et al. 2017, "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks" (CVPR). The
    images are from the NIH Clinical Center, which asks to be named.

    Examples
    --------
    >>> from skdne.datasets import encoder_training_patients
    >>> from skdne.datasets.nih import load_nih_chest_xray14
    >>> seen = [str(patient) for patient in encoder_training_patients()]
    >>> data = load_nih_chest_xray14("data/nih")  # doctest: +SKIP
    >>> data = data.take(~np.isin(data.patients, seen))  # doctest: +SKIP
    >>> opacity = data.findings[["Effusion", "Edema"]].max(axis=1)  # doctest: +SKIP
    """
    root = Path(root)
    file = _find_csv(root, csv)
    compact = "image" in pd.read_csv(file, nrows=0, index_col=False, skipinitialspace=True)
    columns = _COMPACT if compact else _official_columns(file)
    frame = read_table(file, columns, text=columns)
    ids = text_column(frame, columns.patient, file)
    return ImageTable(
        paths=check_files(_locate(root, text_column(frame, columns.image, file)), file),
        findings=_findings(text_column(frame, columns.findings, file), file),
        attributes=pd.DataFrame(
            {
                "sex": _sex(frame[columns.sex], file),
                "age_band": age_band(_years(frame[columns.age], file), age_threshold),
                "view": frame[columns.view],
            }
        ),
        patients=np.array([name.lstrip("0") or "0" for name in ids], dtype=object),
        frame=frame,
    )


def _find_csv(root: Path, csv: str | os.PathLike[str] | None) -> Path:
    if not root.is_dir():
        raise FileNotFoundError(f"root: {root} is not a folder; give that of the release.")
    if csv is not None:
        if not (root / csv).is_file():
            raise FileNotFoundError(f"csv: there is no file {root / csv}; name one in root.")
        return root / csv
    # "Data_Entry_2017_v2020.csv" sorts after "Data_Entry_2017.csv"
    found = [*root.glob("metadata.csv"), *sorted(root.glob("Data_Entry_2017*.csv"))]
    if not found:
        inside = named(sorted(path.name for path in root.iterdir())) or "nothing"
        raise FileNotFoundError(
            f"no Data_Entry_2017*.csv and no metadata.csv in {root}; it holds {inside}."
        )
    return found[-1]


def _official_columns(file: Path) -> _Columns:
    header = pd.read_csv(file, nrows=0, index_col=False, skipinitialspace=True).columns
    sex = "Patient Sex" if "Patient Sex" in header else "Patient Gender"
    return _Columns(
        "Image Index", "Finding Labels", "Patient ID", "Patient Age", sex, "View Position"
    )


def _locate(root: Path, listed: np.ndarray) -> list[str]:
    """Where each image is; in ``images``, where it is nowhere."""
    where: dict[str, str] = {}
    for folder in [*sorted(root.glob("images_*/images")), root / "images"]:
        if folder.is_dir():
            where |= {name: os.path.join(folder, name) for name in os.listdir(folder)}
    return [where.get(name, os.path.join(root, "images", name)) for name in listed]


def _findings(column: np.ndarray, file: Path) -> pd.DataFrame:
    names = ["No Finding", *NIH_FINDINGS]
    text = pd.Series(column, dtype="str").str.replace("Pleural Thick", "Pleural_Thick")
    labels = text.str.get_dummies("|")
    if unknown := [name for name in labels if name not in names]:
        raise ValueError(
            f"{file} holds the finding {unknown[0]!r}; ChestX-ray14 has {', '.join(names)}."
        )
    return labels.reindex(columns=names, fill_value=0).astype(np.int64)


def _sex(column: pd.Series, file: Path) -> pd.Series:
    sex = column.str.strip()
    if (bad := sex[~sex.isin(["F", "M"]) & sex.notna()]).size:
        raise ValueError(
            f"column {column.name!r} of {file} holds {bad.iloc[0]!r}, not F or M; repair it."
        )
    return sex


def _years(column: pd.Series, file: Path) -> pd.Series:
    parts = column.str.strip().str.extract(r"^(\d+(?:\.\d*)?)([YMD]?)$")
    if (bad := column[parts[0].isna() & column.notna()]).size:
        raise ValueError(
            f"column {column.name!r} of {file} holds {bad.iloc[0]!r}; expected years, such as 61 "
            "or '061Y'."
        )
    years = parts[0].astype(float) * parts[1].replace("", "Y").map(_YEARS).astype(float)
    return years.where(years <= _MAX_AGE)
