"""The CheXpert reader, on small trees in CheXpert's exact layout."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import small_encoder
from PIL import Image

from skdne import Adam, DebiasedNoiseTransformer
from skdne.datasets.chexpert import CHEXPERT_FINDINGS, load_chexpert

# As in the released train.csv, header and spelling of the values included.
HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,"
    "Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
ROWS = [
    "patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
    "patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    "patient00002/study1/view2_lateral.jpg,Female,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,",
    "patient00003/study1/view1_frontal.jpg,Male,41,Frontal,PA,,,,,,1.0,,,,0.0,,,,",
    "patient00004/study1/view1_frontal.jpg,Male,60,Frontal,PA,,,,,,0.0,,-1.0,1.0,0.0,1.0,,,",
    "patient00005/study1/view1_frontal.jpg,Unknown,0,Frontal,AP,,,,,,0.0,,1.0,,,,,,",
]
FRONTAL = [row for row in ROWS if "Lateral" not in row]


def write_release(folder: Path, rows=ROWS, release="CheXpert-v1.0-small") -> Path:
    """Write a release with its train.csv; image i is of the grey value 10 * i."""
    root = folder / release
    for i, row in enumerate(rows):
        file = root / "train" / row.partition(",")[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24), 10 * i, np.uint8)).save(file)
    lines = [f"{release}/train/{row}" for row in rows]
    (root / "train.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return root


def with_value(row: str, column: str, value: str) -> str:
    cells = row.split(",")
    cells[HEADER.split(",").index(column)] = value
    return ",".join(cells)


def test_columns_in_order(tmp_path):
    root = write_release(tmp_path)
    data = load_chexpert(root)
    release = "CheXpert-v1.0-small/train/"
    assert data.paths.tolist() == [
        str(tmp_path / (release + row.partition(",")[0])) for row in FRONTAL
    ]
    assert data.patients.tolist() == [f"patient0000{i}" for i in (1, 2, 3, 4, 5)]
    assert data.attributes["sex"].tolist()[:4] == ["F", "F", "M", "M"]
    assert data.attributes["age_band"].tolist()[:4] == [
        "over 60",
        "over 60",
        "up to 60",
        "up to 60",
    ]
    assert data.attributes["view"].tolist() == ["AP", "AP", "PA", "PA", "AP"]
    assert data.attributes.loc[4, ["sex", "age_band"]].isna().all()
    assert list(data.findings) == list(CHEXPERT_FINDINGS) == HEADER.split(",")[5:]
    assert data.frame["Age"].tolist() == [68, 87, 41, 60, 0]
    assert len(data) == 5
    assert "race" not in data.attributes


@pytest.mark.parametrize(
    ("policy", "edema", "atelectasis", "effusion", "pneumonia"),
    [  # by hand, from ROWS; blanks are 0 under every policy
        ("papers", [0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]),
        ("ones", [0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 1]),
        ("zeros", [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]),
        (
            "ignore",
            [0, np.nan, 1, 0, 0],
            [0, np.nan, 0, 1, 0],
            [0, np.nan, 0, 1, 0],
            [0, 0, 0, np.nan, 1],
        ),
    ],
)
def test_uncertain_labels(tmp_path, policy, edema, atelectasis, effusion, pneumonia):
    findings = load_chexpert(write_release(tmp_path), uncertain=policy).findings
    np.testing.assert_array_equal(findings["Edema"], edema)
    np.testing.assert_array_equal(findings["Atelectasis"], atelectasis)
    np.testing.assert_array_equal(findings["Pleural Effusion"], effusion)
    np.testing.assert_array_equal(findings["Pneumonia"], pneumonia)


def test_all_findings_against_the_csv_module(tmp_path):
    root = write_release(tmp_path)
    findings = load_chexpert(root, frontal_only=False).findings
    with open(root / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in CHEXPERT_FINDINGS:
        uncertain = 1 if name in ("Edema", "Atelectasis") else 0
        expected = [{"": 0, "0.0": 0, "1.0": 1, "-1.0": uncertain}[row[name]] for row in rows]
        assert findings[name].tolist() == expected
        assert findings[name].dtype == np.int64


def test_lateral_views_and_age_threshold(tmp_path):
    data = load_chexpert(write_release(tmp_path), frontal_only=False, age_threshold=85)
    assert len(data) == 6
    assert data.attributes["view"].isna().tolist() == [False, False, True, False, False, False]
    bands = data.attributes["age_band"].tolist()[:5]
    assert bands == ["up to 85", "over 85", "up to 85", "up to 85", "up to 85"]
    only_lateral = write_release(tmp_path / "b", [ROWS[2]])
    with pytest.raises(ValueError, match="no frontal view; use frontal_only=False"):
        load_chexpert(only_lateral)


@pytest.mark.parametrize("release", ["CheXpert-v1.0", "CheXpert-v1.0-small"])
def test_root_is_the_release_or_the_folder_above(tmp_path, release):
    root = write_release(tmp_path, release=release)
    inside, above = load_chexpert(root), load_chexpert(tmp_path)
    assert inside.paths.tolist() == above.paths.tolist()
    listed_elsewhere = tmp_path / "my_list.csv"
    (root / "train.csv").rename(listed_elsewhere)
    assert load_chexpert(root, csv=listed_elsewhere).paths.tolist() == inside.paths.tolist()
    renamed = root.rename(tmp_path / "renamed")
    assert load_chexpert(renamed, csv=listed_elsewhere).paths.tolist() == [
        path.replace(release, "renamed") for path in inside.paths
    ]


def test_batches_of_the_full_download(tmp_path):
    release = write_release(tmp_path, release="CheXpert-v1.0")
    expected = load_chexpert(release).take([0, 1, 2, 3, 4])
    batches = ["batch 2 (train 1)", "batch 3 (train 2)", "batch 4 (train 3)"]
    for i, patient in enumerate(sorted((release / "train").iterdir())):
        batch = tmp_path / f"CheXpert-v1.0 {batches[i % 3]}"
        batch.mkdir(exist_ok=True)
        patient.rename(batch / patient.name)
    first = tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)"
    valid = first / "valid" / "patient64541" / "study1"
    valid.mkdir(parents=True)
    Image.new("L", (24, 20)).save(valid / "view1_frontal.jpg")
    row = with_value(FRONTAL[0], "Path", "patient64541/study1/view1_frontal.jpg")
    (first / "valid.csv").write_text(f"{HEADER}\nCheXpert-v1.0/valid/{row}\n")
    (release / "train.csv").rename(first / "train.csv")
    (release / "train").rmdir()
    release.rmdir()
    data = load_chexpert(tmp_path)
    assert data.patients.tolist() == expected.patients.tolist()
    for path, old in zip(data.paths, expected.paths, strict=True):
        assert Path(path).is_file()
        assert Path(path).parts[-3:] == Path(old).parts[-3:]
    assert load_chexpert(tmp_path, csv="valid.csv").paths.tolist() == [
        str(valid / "view1_frontal.jpg")
    ]


def test_race_sheet(tmp_path):
    root = write_release(tmp_path)
    words = {
        "patient00001": "White, Hispanic",
        "patient00002": "Black or African American",
        "patient00003": "Asian, non-Hispanic",
        "patient00005": "Race and Ethnicity Unknown",
        "patient09999": "Other",
    }
    sheet = tmp_path / "CHEXPERT DEMO.csv"
    table = pd.DataFrame({"PATIENT": list(words), "GENDER": "", "PRIMARY_RACE": words.values()})
    table.to_csv(sheet, index=False)
    data = load_chexpert(root, race_csv=sheet)
    assert data.attributes["race"].tolist()[:3] == ["White", "Black", "Asian"]
    assert data.attributes["race"].isna().tolist() == [False, False, False, True, True]
    assert data.frame["PRIMARY_RACE"].tolist()[:3] == list(words.values())[:3]

    table["PRIMARY_RACE"] = ["White or Caucasian", "Pacific Islander, Hispanic", "", "Unknown", ""]
    table.to_csv(sheet, index=False)
    race = load_chexpert(root, race_csv=sheet).attributes["race"]
    assert race.tolist()[:2] == ["White", "Other"]
    assert race.isna().tolist() == [False, False, True, True, True]

    pd.concat([table, table.iloc[:1].assign(PRIMARY_RACE="Asian")]).to_csv(sheet, index=False)
    with pytest.raises(ValueError, match="several values of PRIMARY_RACE for patient00001"):
        load_chexpert(root, race_csv=sheet)
    table.assign(PATIENT=range(5)).to_csv(sheet, index=False)
    with pytest.raises(ValueError, match=r"no patient of .*'0'.* is in .*'patient00001'"):
        load_chexpert(root, race_csv=sheet)
    with pytest.raises(ValueError, match=r"DEMO.xlsx is an Excel file; save the sheet as a CSV"):
        load_chexpert(root, race_csv=tmp_path / "CHEXPERT DEMO.xlsx")


def test_missing_files_are_named_and_counted(tmp_path):
    root = write_release(
        tmp_path,
        ROWS[:1]
        + [
            with_value(ROWS[0], "Path", f"patient{i:05}/study1/view1_frontal.jpg")
            for i in range(2, 12)
        ],
    )
    for i in range(2, 9):
        (root / f"train/patient{i:05}/study1/view1_frontal.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="7 of 11 image files") as caught:
        load_chexpert(root)
    message = str(caught.value)
    assert message.count("view1_frontal.jpg") == 5
    assert "patient00002" in message
    assert "patient00001/" not in message


def test_csv_that_is_not_there(tmp_path):
    root = write_release(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_chexpert(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no valid.csv in .*; it holds train, train.csv"):
        load_chexpert(root, csv="valid.csv")
    write_release(tmp_path, release="CheXpert-v1.0")
    with pytest.raises(ValueError, match=r"train.csv more than once: .*give the folder of one"):
        load_chexpert(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("Sex", "Man", r"'Sex' of .*train.csv holds 'Man'"),
        ("Age", "old", r"'Age' of .*train.csv holds 'old'"),
        ("Edema", "2.0", r"'Edema' of .*train.csv holds 2.0; CheXpert has 1, 0, -1"),
        ("Edema", "yes", r"'Edema' of .*train.csv holds yes"),
        ("Path", "", r"'Path' of .* is blank in 1 of 6 rows \(line 2\)"),
    ],
)
def test_values_that_are_not_chexperts(tmp_path, column, value, message):
    root = write_release(tmp_path)
    text = (root / "train.csv").read_text()
    row = f"CheXpert-v1.0-small/train/{ROWS[0]}"
    (root / "train.csv").write_text(text.replace(row, with_value(row, column, value)))
    with pytest.raises(ValueError, match=message):
        load_chexpert(root)


def test_path_without_a_patient_policy_and_columns(tmp_path):
    root = write_release(tmp_path)
    with pytest.raises(ValueError, match=r"uncertain must be one of .*'ignore'.*got 'half'"):
        load_chexpert(root, uncertain="half")
    text = (root / "train.csv").read_text()
    (root / "train.csv").write_text(text.replace("patient00003/", "p3/"))
    with pytest.raises(ValueError, match=r"no patient in 1 rows, such as '.*train/p3/study1"):
        load_chexpert(root)
    (root / "train.csv").write_text(text.replace("Edema", "Oedema").replace("Sex", "Gender"))
    with pytest.raises(ValueError, match=r"no column 'Sex', 'Edema'; it has 'Path', 'Gender'"):
        load_chexpert(root)


@pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")  # too few images for a verdict
def test_paths_are_the_x_of_the_transformer(tmp_path):
    rows = [
        with_value(
            with_value(ROWS[0], "Path", f"patient{i:05}/study1/view1_frontal.jpg"),
            "Sex",
            "Male" if i % 2 else "Female",
        )
        for i in range(24)
    ]
    data = load_chexpert(write_release(tmp_path, rows))
    encoder = small_encoder()
    dne = DebiasedNoiseTransformer(encoder, solver=Adam(max_iter=1), leakage=False, random_state=0)
    dne.fit(data.paths, sensitive_features=data.attributes["sex"], groups=data.patients)
    plain = DebiasedNoiseTransformer(encoder, solver=None).fit(data.paths)
    pixels = np.stack([np.asarray(Image.open(path)) for path in data.paths])
    np.testing.assert_array_equal(plain.transform(data.paths), plain.transform(pixels))
    assert dne.classes_.tolist() == ["F", "M"]
    assert dne.transform(data.paths[:3]).shape == (3, 16)
