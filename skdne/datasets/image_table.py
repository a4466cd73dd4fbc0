"""Image files with their findings, attributes and patients, and how to read them from any CSV."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

N_NAMED = 5


@dataclasses.dataclass(frozen=True)
class ImageTable:
    """Image files and what is known about each; row i of every part is image i.

    All loaders of :mod:`skdne.datasets` return this. No pixel is read: ``paths`` is the X of
    :class:`~skdne.DebiasedNoiseTransformer`, which opens a file when a batch needs it.

    Parameters
    ----------
    paths : ndarray of shape (n,), object
        Files, as str; each once, and there at the time of loading.
    findings : DataFrame of shape (n, k)
        One column for each finding or label: classes, such as 0 and 1; NaN where it is unknown.
    attributes : DataFrame of shape (n, m)
        One column for each attribute, text; NaN where it is unknown.
    patients : ndarray of shape (n,), object, or None
        Patient ids, as str: the ``groups`` of fits and splits. None: the table does not say.
    frame : DataFrame
        The rows of the CSV as read, with all of its columns, index 0 to n - 1.

    Examples
    --------
    See :func:`load_image_table`.
    """

    paths: np.ndarray
    findings: pd.DataFrame
    attributes: pd.DataFrame
    patients: np.ndarray | None
    frame: pd.DataFrame

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Any) -> ImageTable:
        """Return the table of some rows.

        Parameters
        ----------
        rows : array-like of int or of bool
            Positions, or a mask of length n.

        Returns
        -------
        ImageTable
            Its data frames are indexed from 0.
        """
        rows = np.asarray(rows)
        rows = rows if rows.dtype == bool else rows.astype(np.intp)

        def of(frame: pd.DataFrame) -> pd.DataFrame:
            return frame.iloc[rows].reset_index(drop=True)

        return ImageTable(
            paths=self.paths[rows],
            findings=of(self.findings),
            attributes=of(self.attributes),
            patients=None if self.patients is None else self.patients[rows],
            frame=of(self.frame),
        )


def load_image_table(
    csv: str | os.PathLike[str],
    *,
    path: str = "path",
    label: str | Sequence[str] = "label",
    attribute: str | Sequence[str] = "attribute",
    patient: str | None = None,
    root: str | os.PathLike[str] | None = None,
) -> ImageTable:
    """Read a CSV that lists image files with their labels and attributes.

    Parameters
    ----------
    csv : path
        A file with a header row.
    path : str, default="path"
        Column of the image files: absolute, or relative to ``root``.
    label, attribute : str or list of str, default="label" and "attribute"
        Columns of the findings and of the sensitive attributes. Attributes are read as text;
        findings are numbers where all of them look so, else text, and True is 1. Blanks are kept as
        missing.
    patient : str or None, default=None
        Column of the patients. None: the table does not say, and every image counts as a patient.
    root : path or None, default=None
        Folder of the image files. None is the folder of ``csv``.

    Returns
    -------
    ImageTable

    Raises
    ------
    FileNotFoundError
        If ``csv`` is not there, or image files it lists are not; the first few are named.
    ValueError
        If there are no rows, a column is missing, an image is listed twice, or a path or patient is
        blank.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from skdne.datasets.image_table import load_image_table
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> for name in ("a.png", "b.png"):
    ...     Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / name)
    >>> rows = ["file,disease,sex,patient", "a.png,1,F,007", "b.png,0,M,008"]
    >>> _ = (root / "images.csv").write_text("\\n".join(rows))
    >>> data = load_image_table(
    ...     root / "images.csv", path="file", label="disease", attribute="sex", patient="patient"
    ... )
    >>> [Path(path).name for path in data.paths], data.findings["disease"].tolist()
    (['a.png', 'b.png'], [1, 0])
    >>> data.attributes["sex"].tolist(), data.patients.tolist()
    (['F', 'M'], ['007', '008'])
    >>> folder.cleanup()
    """
    labels = [label] if isinstance(label, str) else list(label)
    attributes = [attribute] if isinstance(attribute, str) else list(attribute)
    as_text = [path, *attributes, *([] if patient is None else [patient])]
    frame = read_table(csv, [*as_text, *labels], text=as_text)
    folder = Path(csv).parent if root is None else Path(root)
    listed = text_column(frame, path, csv)
    return ImageTable(
        paths=check_files([os.path.join(folder, name) for name in listed], csv),
        findings=frame[labels].apply(_as_classes),
        attributes=frame[attributes],
        patients=None if patient is None else text_column(frame, patient, csv),
        frame=frame,
    )


def _as_classes(column: pd.Series) -> pd.Series:
    return column.astype(np.int64) if column.dtype == bool else column


def read_table(
    csv: str | os.PathLike[str], columns: Iterable[str], text: Iterable[str]
) -> pd.DataFrame:
    """Read a CSV and check that it has rows and these columns; the ``text`` ones are read as str.

    Only a blank is missing: "None", "NA" and the like are values that a finding can have.
    """
    try:
        frame = pd.read_csv(
            csv,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values=[""],
            index_col=False,  # rows that end in a comma do not shift the columns
            skipinitialspace=True,
        )
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{os.fspath(csv)} is empty; it needs a header and rows.") from error
    columns = list(dict.fromkeys(columns))
    if missing := [name for name in columns if name not in frame]:
        raise ValueError(
            f"{os.fspath(csv)} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, frame))}."
        )
    if frame.empty:
        raise ValueError(f"{os.fspath(csv)} has a header and no rows; it needs rows.")
    return frame


def text_column(frame: pd.DataFrame, name: str, csv: str | os.PathLike[str]) -> np.ndarray:
    """Give a text column in which no row may be blank."""
    if (blank := np.flatnonzero(frame[name].isna())).size:
        lines = ", ".join(map(str, blank[:N_NAMED] + 2))
        raise ValueError(
            f"column {name!r} of {os.fspath(csv)} is blank in {len(blank)} of {len(frame)} rows "
            f"(line {lines}{', ...' if len(blank) > N_NAMED else ''}); fill it in, or leave the "
            "rows out."
        )
    return frame[name].to_numpy(object)


def check_files(paths: Sequence[str], csv: str | os.PathLike[str]) -> np.ndarray:
    """Check that all files are there, each listed once, and return them as an array."""
    files = np.asarray(paths, dtype=object)
    if absent := [name for name in files if not os.path.isfile(name)]:
        raise FileNotFoundError(
            f"{len(absent)} of {len(files)} image files that {os.fspath(csv)} lists are missing: "
            f"{named(absent)}. Get them, or give a CSV without their rows."
        )
    twice = pd.Series(files)[pd.Series(files).duplicated()].unique()
    if len(twice):
        raise ValueError(
            f"{os.fspath(csv)} lists {len(twice)} image files more than once: {named(twice)}. "
            "Give one row an image."
        )
    return files


def named(items: Any) -> str:
    """The first few items, for an error."""
    more = ", ..." if len(items) > N_NAMED else ""
    return ", ".join(str(item) for item in items[:N_NAMED]) + more


def age_band(age: pd.Series, threshold: float) -> pd.Series:
    """Text such as "over 60" and "up to 60" for an age in years; missing where the age is."""
    bands = np.where(age > threshold, f"over {threshold:g}", f"up to {threshold:g}")
    return pd.Series(bands, index=age.index, dtype="str").where(age.notna())
