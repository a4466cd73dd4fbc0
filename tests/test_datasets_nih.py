"""The NIH ChestX-ray14 reader, on small trees in the official and in the compact layout."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skdne.datasets import encoder_training_patients
from skdne.datasets.nih import NIH_FINDINGS, load_nih_chest_xray14

SIZES = "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,{},View Position," + SIZES
ROWS = [  # the spelling of the releases: unpadded in 2020, padded ages with a unit in the first
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,61,M,PA,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,060Y,F,AP,2500,2048,0.168,0.168",
    "00000030_000.png,Pleural_Thickening|Pneumonia|Hernia,0,30,014M,F,PA,2500,2048,0.168,0.168",
    "00000400_000.png,Infiltration,0,400,414,M,AP,2500,2048,0.168,0.168",
]


def write_images(folder: Path, names) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(folder / name)


def write_official(root: Path, name="Data_Entry_2017_v2020.csv", sex="Patient Sex", ends=("", "")):
    images = [row.partition(",")[0] for row in ROWS]
    write_images(root / "images_001" / "images", images[:2])
    write_images(root / "images_012" / "images", images[2:])
    lines = [HEADER.format(sex) + ends[0], *[row + ends[1] for row in ROWS]]
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def check(data, folders) -> None:
    names = [row.partition(",")[0] for row in ROWS]
    assert [Path(path).name for path in data.paths] == names
    assert [Path(path).parent for path in data.paths] == folders
    assert data.patients.tolist() == ["1", "1", "2", "30", "400"]
    assert data.attributes["sex"].tolist() == ["M", "M", "F", "F", "M"]
    assert data.attributes["view"].tolist() == ["PA", "PA", "AP", "PA", "AP"]
    assert data.attributes["age_band"].tolist()[:4] == [
        "up to 60",
        "over 60",
        "up to 60",
        "up to 60",  # 14 months
    ]
    assert pd.isna(data.attributes["age_band"][4])  # nobody is 414
    assert list(data.findings) == ["No Finding", *NIH_FINDINGS]
    for i, row in enumerate(ROWS):
        found = set(data.findings.columns[data.findings.iloc[i] == 1])
        assert found == set(row.split(",")[1].split("|"))
    assert set(np.unique(data.findings)) == {0, 1}


@pytest.mark.parametrize("sex", ["Patient Sex", "Patient Gender"])
@pytest.mark.parametrize("ends", [("", ""), (",", ","), ("", ",")])  # copies differ in this
def test_official_layout(tmp_path, sex, ends):
    root = write_official(tmp_path, sex=sex, ends=ends)
    first, last = (root / f"images_{i}" / "images" for i in ("001", "012"))
    check(load_nih_chest_xray14(root), [first] * 2 + [last] * 3)


def test_one_folder_of_images_and_the_newest_csv(tmp_path):
    root = write_official(tmp_path)
    old = (root / "Data_Entry_2017_v2020.csv").read_text().replace(",57,M", ",75,M")
    (root / "Data_Entry_2017.csv").write_text(old)
    (root / "images").mkdir()
    for file in root.glob("images_*/images/*.png"):
        file.rename(root / "images" / file.name)
    check(load_nih_chest_xray14(root), [root / "images"] * 5)
    older = load_nih_chest_xray14(root, csv="Data_Entry_2017.csv", age_threshold=75)
    assert older.attributes["age_band"].tolist()[:4] == ["up to 75"] * 4
    assert older.frame["Patient Age"].tolist()[0] == "75"


def test_compact_layout(tmp_path):
    write_images(tmp_path / "images", [row.partition(",")[0] for row in ROWS])
    lines = ["image,patient_id,age,sex,view,findings"]
    for row in ROWS:
        image, findings, _, patient, age, sex, view, *_ = row.split(",")
        lines.append(f"{image},{patient.zfill(8)},{age},{sex},{view},{findings}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    check(load_nih_chest_xray14(tmp_path), [tmp_path / "images"] * 5)
    part = tmp_path / "part.csv"
    part.write_text("\n".join(lines[:3]))
    assert len(load_nih_chest_xray14(tmp_path, csv=part)) == 2


def test_missing_files(tmp_path):
    root = write_official(tmp_path)
    (root / "images_012" / "images" / "00000030_000.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 5 image files .*images/00000030_000.png"):
        load_nih_chest_xray14(root)
    with pytest.raises(FileNotFoundError, match=r"csv: there is no file .*mine.csv"):
        load_nih_chest_xray14(root, csv="mine.csv")
    (root / "Data_Entry_2017_v2020.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no metadata.csv in .*; it holds images_001, im"):
        load_nih_chest_xray14(root)
    with pytest.raises(FileNotFoundError, match=r"root: .* is not a folder"):
        load_nih_chest_xray14(root / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Infiltration", "Gout", r"holds the finding 'Gout'; ChestX-ray14 has No Finding, Atel"),
        (",414,M", ",414,X", r"'Patient Sex' of .* holds 'X', not F or M"),
        (",57,M", ",old,M", r"'Patient Age' of .* holds 'old'; expected years"),
        ("View Position", "View", r"no column 'View Position'; it has 'Image Index', 'Finding"),
        ("Cardiomegaly,0,1", ",0,1", r"'Finding Labels' of .* is blank in 1 of 5 rows \(line 2\)"),
        ("00000001_001.png", "00000001_000.png", r"1 image files more than once: .*01_000.png"),
    ],
)
def test_values_that_are_not_the_releases(tmp_path, old, new, message):
    root = write_official(tmp_path)
    csv = root / "Data_Entry_2017_v2020.csv"
    csv.write_text(csv.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_nih_chest_xray14(root)


def test_real_radiographs(nih_cxr):
    data = load_nih_chest_xray14(nih_cxr)
    assert len(data) == 621
    assert data.attributes["sex"].value_counts().to_dict() == {"M": 326, "F": 295}
    assert data.attributes["view"].value_counts().to_dict() == {"PA": 518, "AP": 103}
    counts = data.findings.sum()
    for name, n in {"No Finding": 100, "Infiltration": 123, "Effusion": 82, "Mass": 72}.items():
        assert counts[name] == n
    seen = np.isin(data.patients, [str(patient) for patient in encoder_training_patients()])
    assert seen.sum() == 311
    assert len(data.take(~seen)) == 310
