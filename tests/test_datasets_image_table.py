"""The reader of any CSV."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skdne.datasets.image_table import load_image_table


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def write(folder, text, name="images.csv"):
    (folder / name).write_text(text)
    return folder / name


TEXT = """\
path,label,attribute,age,who,score,sick
0.png,1,F,up to 60,007,NA,True
1.png,0,M,over 60,007,None,False
2.png,1,,over 60,8,low,True
3.png,,M,,9,,False
"""


def test_columns_and_missing_values(folder):
    data = load_image_table(
        write(folder, TEXT),
        label=["label", "score", "sick"],
        attribute=["attribute", "age"],
        patient="who",
    )
    assert data.paths.tolist() == [str(folder / f"{i}.png") for i in range(4)]
    assert data.patients.tolist() == ["007", "007", "8", "9"]
    np.testing.assert_array_equal(data.findings["label"], [1, 0, 1, np.nan])
    assert data.findings["score"].tolist()[:3] == ["NA", "None", "low"]
    assert data.findings["sick"].tolist() == [1, 0, 1, 0]
    assert data.findings["sick"].dtype == np.int64
    assert data.attributes.isna().to_numpy().tolist() == [
        [False, False],
        [False, False],
        [True, False],
        [False, True],
    ]
    assert data.attributes["attribute"].tolist()[:2] == ["F", "M"]
    assert list(data.frame) == TEXT.splitlines()[0].split(",")
    assert load_image_table(write(folder, TEXT)).patients is None


def test_take(folder):
    data = load_image_table(write(folder, TEXT), patient="who")
    for rows in ([3, 0], np.array([3, 0]), pd.Series([3, 0])):
        part = data.take(rows)
        assert part.paths.tolist() == [str(folder / "3.png"), str(folder / "0.png")]
        assert part.patients.tolist() == ["9", "007"]
        assert part.attributes["attribute"].tolist() == ["M", "F"]
        assert part.findings.index.tolist() == part.frame.index.tolist() == [0, 1]
    masked = data.take(data.attributes["attribute"] == "M")
    assert masked.patients.tolist() == ["007", "9"]
    assert len(data.take([])) == 0
    assert load_image_table(write(folder, TEXT)).take([1]).patients is None


def test_root_and_absolute_paths(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists")
    csv = write(elsewhere, TEXT)
    assert load_image_table(csv, root=folder).paths[1] == str(folder / "1.png")
    absolute = TEXT.replace("0.png", str(folder / "0.png"))
    csv = write(elsewhere, "\n".join(absolute.splitlines()[:2]))
    assert load_image_table(csv).paths.tolist() == [str(folder / "0.png")]
    with pytest.raises(FileNotFoundError, match=r"4 of 4 image files .*lists/0.png"):
        load_image_table(write(elsewhere, TEXT), root=elsewhere / "lists")


def test_errors(folder):
    with pytest.raises(FileNotFoundError, match=r"nothing.csv"):
        load_image_table(folder / "nothing.csv")
    with pytest.raises(ValueError, match="is empty; it needs a header"):
        load_image_table(write(folder, ""))
    with pytest.raises(ValueError, match="has a header and no rows"):
        load_image_table(write(folder, TEXT.splitlines()[0]))
    with pytest.raises(ValueError, match=r"no column 'file', 'sex'; it has 'path', 'label', 'att"):
        load_image_table(write(folder, TEXT), path="file", attribute="sex")
    with pytest.raises(ValueError, match=r"'who' of .* is blank in 1 of 4 rows \(line 4\)"):
        load_image_table(write(folder, TEXT.replace(",8,", ",,")), patient="who")
    with pytest.raises(ValueError, match=r"lists 1 image files more than once: .*/0.png"):
        load_image_table(write(folder, TEXT.replace("1.png", "0.png")))
    (folder / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 image files .* missing: .*/2.png\. Get"):
        load_image_table(write(folder, TEXT))


def test_many_bad_rows_are_counted_and_the_first_named(folder):
    rows = [f"{i}_.png,1,F" for i in range(30)]
    csv = write(folder, "\n".join(["path,label,attribute", *rows]))
    with pytest.raises(FileNotFoundError, match="30 of 30 image files") as caught:
        load_image_table(csv)
    assert str(caught.value).count("_.png") == 5
    assert ", ...." in str(caught.value)
    rows = [",1,F" for _ in range(30)]
    csv = write(folder, "\n".join(["path,label,attribute", *rows]))
    with pytest.raises(ValueError, match=r"in 30 of 30 rows \(line 2, 3, 4, 5, 6, \.\.\.\)"):
        load_image_table(csv)
