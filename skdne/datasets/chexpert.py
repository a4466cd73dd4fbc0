"""Read CheXpert: its CSV, its uncertain labels, and the sheet of its patients' race."""

from __future__ import annotations

import os
from pathlib import Path

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

CHEXPERT_FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
UNCERTAIN_POSITIVE = ("Edema", "Atelectasis")
_POLICIES = ("papers", "ones", "zeros", "ignore")
_SEX = {"Male": "M", "Female": "F", "Unknown": np.nan}
_RACE_UNKNOWN = ("Unknown", "Race and Ethnicity Unknown", "Patient Refused")


def load_chexpert(
    root: str | os.PathLike[str],
    *,
    csv: str | os.PathLike[str] = "train.csv",
    uncertain: str = "papers",
    frontal_only: bool = True,
    age_threshold: float = 60,
    race_csv: str | os.PathLike[str] | None = None,
) -> ImageTable:
    """Read CheXpert, or its small version, as it is unpacked.

    Parameters
    ----------
    root : path
        The folder that holds ``CheXpert-v1.0`` or ``CheXpert-v1.0-small``, or that folder itself,
        or one that holds the four ``CheXpert-v1.0 batch ...`` folders of the full download.
    csv : path, default="train.csv"
        The list of images, looked for in those folders. The papers draw training and test set from
        this one; "valid.csv" holds 234 images.
    uncertain : {"papers", "ones", "zeros", "ignore"}, default="papers"
        What -1 becomes. "papers": 1 for Edema and Atelectasis, else 0; "ones"; "zeros"; "ignore":
        missing (NaN). Blanks, findings that a report does not mention, are 0 always.
    frontal_only : bool, default=True
        Leave lateral views out. The papers do not say whether they did.
    age_threshold : float, default=60
        Years; attribute ``age_band`` is "over 60" or "up to 60".
    race_csv : path or None, default=None
        The sheet ``CHEXPERT DEMO.xlsx``, a separate download, saved as a CSV: columns PATIENT
        (such as "patient00001") and PRIMARY_RACE.

    Returns
    -------
    ImageTable
        ``findings``: the 14 of CheXpert, 0 and 1. ``attributes``: ``sex`` ("F", "M"), ``age_band``,
        ``view`` ("AP", "PA", "LL", "RL") and, with a sheet, ``race`` ("Asian", "Black", "White",
        "Other"). ``patients``: such as "patient00001".

    Raises
    ------
    FileNotFoundError
        If the CSV or image files are not there; the first few are named.
    ValueError
        If a column is missing, a value is not one of CheXpert's, or no row is left.

    Notes
    -----
    ``race`` is the first of "White", "Black", "Asian" that PRIMARY_RACE contains (so "White,
    Hispanic" is "White"), as in Glocker et al. 2023; all else is "Other", and "Unknown", refusals
    and patients who are not in the sheet are missing. The words of the sheet itself are in
    ``frame["PRIMARY_RACE"]``. An age of 0 is taken as unknown: the patients are adults.

    References
    ----------
    Irvin et al. 2019, "CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and
    Expert Comparison" (AAAI). Uncertain labels as in Jin et al. 2024.

    Examples
    --------
    >>> from skdne.datasets.chexpert import load_chexpert
    >>> data = load_chexpert("data/chexpert")  # doctest: +SKIP
    >>> y = data.findings["Edema"].to_numpy()  # doctest: +SKIP
    >>> dne.fit(
    ...     data.paths, y, sensitive_features=data.attributes["sex"], groups=data.patients
    ... )  # doctest: +SKIP
    """
    if uncertain not in _POLICIES:
        raise ValueError(f"uncertain must be one of {_POLICIES}; got {uncertain!r}.")
    root = Path(root)
    file = _find_csv(root, csv)
    needed = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_FINDINGS]
    frame = read_table(file, needed, text=["Path", "Sex", "Frontal/Lateral", "AP/PA"])
    text_column(frame, "Path", file)
    if frontal_only:
        frame = frame[frame["Frontal/Lateral"] == "Frontal"].reset_index(drop=True)
        if frame.empty:
            raise ValueError(f"{file} lists no frontal view; use frontal_only=False.")
    listed = frame["Path"].to_numpy(object)
    patients = frame["Path"].str.extract(r"(?:^|/)(patient\d+)/", expand=False)
    if patients.isna().any():
        bad = listed[patients.isna().to_numpy()]
        raise ValueError(
            f"column 'Path' of {file} names no patient in {len(bad)} rows, such as {bad[0]!r}; "
            "expected paths such as 'CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg'."
        )
    attributes = pd.DataFrame(
        {
            "sex": _sex(frame["Sex"], file),
            "age_band": age_band(_age(frame["Age"], file), age_threshold),
            "view": frame["AP/PA"],
        }
    )
    if race_csv is not None:
        frame["PRIMARY_RACE"] = _primary_race(race_csv, patients)
        attributes["race"] = _race(frame["PRIMARY_RACE"])
    return ImageTable(
        paths=check_files(_locate(root, listed), file),
        findings=frame[list(CHEXPERT_FINDINGS)].apply(_finding, policy=uncertain, csv=file),
        attributes=attributes,
        patients=patients.to_numpy(object),
        frame=frame,
    )


def _find_csv(root: Path, csv: str | os.PathLike[str]) -> Path:
    if not root.is_dir():
        raise FileNotFoundError(f"root: {root} is not a folder; give that of the release.")
    folders = [root, *sorted(root.glob("CheXpert-v1.0*"))]
    found = [folder / csv for folder in folders if (folder / csv).is_file()]
    found = list(dict.fromkeys(found))  # an absolute csv is the same in each folder
    if not found:
        inside = named(sorted(path.name for path in root.iterdir())) or "nothing"
        raise FileNotFoundError(
            f"no {os.fspath(csv)} in {root} or in a CheXpert-v1.0* folder there; it holds {inside}."
        )
    if len(found) > 1:
        raise ValueError(
            f"{root} holds {os.fspath(csv)} more than once: {named(found)}; give the folder of one "
            "version as root."
        )
    return found[0]


def _locate(root: Path, listed: np.ndarray) -> list[str]:
    """Where each listed file is; the first place looked at, where it is nowhere.

    The CSV says release/split/patient/study/file. ``root`` may be the folder above the release, the
    release, or hold its batches, which contain the patients (the validation batch: the split).
    """
    places: list[tuple[Path, int]] = [(root, 0), (root, 1)]
    for batch in sorted(root.glob("CheXpert-v1.0*batch*")):
        places += [(batch, 2), (batch, 1)]
    files = [os.path.join(root, name) for name in listed]
    for folder, n_left_out in places:
        lost = [i for i, file in enumerate(files) if not os.path.isfile(file)]
        for i in lost:
            candidate = os.path.join(folder, listed[i].split("/", n_left_out)[-1])
            if os.path.isfile(candidate):
                files[i] = candidate
    return files


def _finding(column: pd.Series, policy: str, csv: Path) -> pd.Series:
    values = pd.to_numeric(column, errors="coerce")
    bad = column[~values.isin([-1, 0, 1]) & column.notna()]
    if len(bad):
        raise ValueError(
            f"column {column.name!r} of {csv} holds {bad.iloc[0]}; CheXpert has 1, 0, -1 "
            "(uncertain) and blanks."
        )
    values = values.fillna(0)
    if policy == "ignore":
        return values.replace(-1, np.nan)
    positive = column.name in UNCERTAIN_POSITIVE if policy == "papers" else policy == "ones"
    return values.replace(-1, int(positive)).astype(np.int64)


def _sex(column: pd.Series, csv: Path) -> pd.Series:
    known = column.isin(list(_SEX)) | column.isna()
    if not known.all():
        raise ValueError(
            f"column 'Sex' of {csv} holds {column[~known].iloc[0]!r}; CheXpert has {list(_SEX)}."
        )
    return column.map(_SEX)


def _age(column: pd.Series, csv: Path) -> pd.Series:
    years = pd.to_numeric(column, errors="coerce")
    if (bad := column[years.isna() & column.notna()]).size:
        raise ValueError(
            f"column 'Age' of {csv} holds {bad.iloc[0]!r}; expected years, such as 61."
        )
    return years.where(years > 0)


def _primary_race(sheet: str | os.PathLike[str], patients: pd.Series) -> pd.Series:
    if Path(sheet).suffix.lower() in (".xlsx", ".xls"):
        raise ValueError(f"race_csv: {os.fspath(sheet)} is an Excel file; save the sheet as a CSV.")
    table = read_table(sheet, ["PATIENT", "PRIMARY_RACE"], text=["PATIENT", "PRIMARY_RACE"])
    table = table[["PATIENT", "PRIMARY_RACE"]].apply(lambda column: column.str.strip())
    table = table.dropna(subset=["PATIENT"]).drop_duplicates()
    if (twice := table["PATIENT"].duplicated()).any():
        raise ValueError(
            f"race_csv: {os.fspath(sheet)} gives several values of PRIMARY_RACE for "
            f"{named(table['PATIENT'][twice].unique())}; keep one."
        )
    race = patients.map(table.set_index("PATIENT")["PRIMARY_RACE"])
    if not patients.isin(table["PATIENT"]).any():
        raise ValueError(
            f"race_csv: no patient of {os.fspath(sheet)} (such as {table['PATIENT'].iloc[0]!r}) is "
            f"in the images (such as {patients.iloc[0]!r}); give the sheet of this release."
        )
    return race


def _race(words: pd.Series) -> pd.Series:
    race = pd.Series("Other", index=words.index, dtype="str")
    for name in ("Asian", "Black", "White"):  # the last one wins: White, Black, Asian
        race = race.mask(words.str.contains(name, regex=False, na=False), name)
    return race.mask(words.isna() | words.isin(_RACE_UNKNOWN))
