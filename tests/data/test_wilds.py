"""The sets of WILDS in miniature copies of their layouts: every image in its split, with its label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.duplicates import compared
from metaft.data.wilds import FMOW_CLASSES, SETS
from metaft.errors import DataError
from tests.data.test_folder import VIEW


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(255, size=(12, 12, 3)).astype(np.uint8)).save(path)


def iwildcam(root: Path) -> Path:
    """All images lie in train/, whatever their split; a category without images has the label 99999."""
    folder = root / "iwildcam_v2.0"
    lines = [",split,location_remapped,location,sequence_remapped,datetime,category_id,y,filename,image_id"]
    number = 0
    for split in ("id_test", "id_val", "test", "train", "val"):
        for i in range(6):
            name = f"{split}-{i}.jpg"
            lines.append(
                f"{number},{split},{i % 3},{40 + i},7,2013-06-05 05:44:19.000,{(24, 150, 2)[i % 3]},{i % 3},{name},x"
            )
            picture(folder / "train" / name, number)
            number += 1
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    (folder / "categories.csv").write_text(
        "y,category_id,name\n1,150,Ocelot\n0,24,empty\n2,2,cat, wild\n99999,9,ghost\n".replace(
            "cat, wild", '"cat, wild"'
        )
    )
    return folder


# split of FMoW, time, category, country: what WILDS makes of it
FMOW = (
    ("train", "2002-01-01T00:00:00Z", "airport", "USA", "id_train"),
    ("seq", "2010-01-01T00:00:00Z", "zoo", "USA", None),
    ("train", "2012-12-31T23:59:59Z", "zoo", "USA", "id_train"),
    ("train", "2013-01-01T00:00:00Z", "zoo", "USA", None),
    ("val", "2012-12-31T23:59:59Z", "airport_hangar", "FRA", "id_val"),
    ("test", "2012-05-01T00:00:00Z", "zoo", "FRA", "id_test"),
    ("seq", "2016-02-01T00:00:00Z", "zoo", "USA", None),
    ("val", "2013-01-01T00:00:00Z", "airport", "KEN", "ood_val"),
    ("val", "2015-12-31T23:59:59Z", "zoo", "FJI", "ood_val"),
    ("val", "2016-01-01T00:00:00Z", "zoo", "USA", None),
    ("test", "2015-12-31T23:59:59Z", "zoo", "USA", None),
    ("test", "2016-01-01T00:00:00Z", "wind_farm", "IND", "ood_test/test"),
    ("test", "2017-08-01T00:00:00Z", "airport", "USA", "ood_test/test"),
    ("test", "2017-08-02T00:00:00Z", "airport", "XKX", "ood_test/test"),
    ("test", "2017-08-03T00:00:00Z", "zoo", "ATA", "ood_test/test"),
    ("test", "2017-08-04T00:00:00Z", "zoo", "NAM", "ood_test/test"),
)
# As the set's mapping has them; it has no Kosovo (XKX), and Antarctica in no region.
COUNTRIES = """name,alpha-2,alpha-3,country-code,iso_3166-2,region,sub-region,region-code,sub-region-code
Antarctica,AQ,ATA,010,ISO 3166-2:AQ,,,,
Fiji,FJ,FJI,242,ISO 3166-2:FJ,Oceania,Melanesia,009,054
France,FR,FRA,250,ISO 3166-2:FR,Europe,Western Europe,150,155
India,IN,IND,356,ISO 3166-2:IN,Asia,Southern Asia,142,034
Kenya,KE,KEN,404,ISO 3166-2:KE,Africa,Sub-Saharan Africa,002,202
Namibia,NA,NAM,516,ISO 3166-2:NA,Africa,Sub-Saharan Africa,002,202
"Saint Helena, Ascension and Tristan da Cunha",SH,SHN,654,ISO 3166-2:SH,Africa,Sub-Saharan Africa,002,202
United States of America,US,USA,840,ISO 3166-2:US,Americas,Northern America,019,021
"""


def fmow(root: Path) -> Path:
    """An image's number is that of its line among all lines, those of the challenge included."""
    folder = root / "fmow_v1.1"
    lines = ["split,img_filename,category,timestamp,country_code"]
    for number, (split, time, category, country, ours) in enumerate(FMOW):
        lines.append(f"{split},a_rgb.jpg,{category},{time},{country}")
        if ours is not None:
            picture(folder / "images" / f"rgb_img_{number}.png", number)
    (folder / "rgb_metadata.csv").write_text("\n".join(lines) + "\n")
    (folder / "country_code_mapping.csv").write_text(COUNTRIES)
    return folder


def camelyon17(root: Path) -> Path:
    folder = root / "camelyon17_v1.0"
    lines = [",patient,node,x_coord,y_coord,tumor,slide,center,split"]
    for number in range(24):
        center, patient, tumor = number % 5, f"{number % 7:03d}", number // 12
        lines.append(
            f"{number},{patient},{number % 3},{100 + number},{200 + number},{tumor},{number % 10},{center},"
            f"{number % 4 // 3}"
        )
        case = f"patient_{patient}_node_{number % 3}"
        picture(folder / "patches" / case / f"patch_{case}_x_{100 + number}_y_{200 + number}.png", number)
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


MAKERS = {"iwildcam": iwildcam, "fmow": fmow, "camelyon17": camelyon17}


def load(root: Path, name: str, **changes):
    options = {"name": name, **changes.pop("options", {})}
    return registry.load(DataConfig(format="wilds", root=root, options=options, **changes), 0, VIEW)


def files(split) -> list[str]:
    return [path.name for path in split.source.files]


@pytest.mark.parametrize("name", MAKERS)
def test_the_root_holds_the_set_or_is_it(tmp_path, name):
    folder = MAKERS[name](tmp_path)
    assert folder.name == SETS[name].folder
    above, itself = load(tmp_path, name), load(folder, name)
    assert {n: files(s) for n, s in above.parts.items()} == {n: files(s) for n, s in itself.parts.items()}
    assert set(above.tests) == {"id_test", "ood_test/test"}
    assert above.classes.templates == SETS[name].templates
    assert all(template.count("{}") == 1 for template in SETS[name].templates)


def test_the_published_numbers_are_those_of_the_whole_sets():
    """As the benchmark counts them: 203,029 of iWildCam, 141,696 of FMoW, 455,954 of Camelyon17."""
    assert {name: sum(known.images.values()) for name, known in SETS.items()} == {
        "iwildcam": 203_029,
        "fmow": 141_696,
        "camelyon17": 455_954,
    }


@pytest.mark.parametrize("name", MAKERS)
def test_another_version_is_refused_and_another_name_is_not(tmp_path, name):
    folder = MAKERS[name](tmp_path)
    other = folder.rename(tmp_path / f"{name}_v0.9")
    (tmp_path / "data").symlink_to(other)
    for root in (other, tmp_path / "data"):
        assert f"{root}: the version {name}_v0.9; allowed: {SETS[name].folder}" in fault(root, name)
    assert len(load(other.rename(tmp_path / "wild"), name).id_train)


def test_iwildcam(tmp_path):
    iwildcam(tmp_path)
    splits = load(tmp_path, "iwildcam")
    assert splits.classes.names == ("empty", "ocelot", "cat, wild")
    assert files(splits.id_train) == [f"train-{i}.jpg" for i in range(6)]
    assert files(splits.tests["ood_test/test"]) == [f"test-{i}.jpg" for i in range(6)], "lies in train/ as well"
    assert splits.id_train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    for split in splits.parts.values():
        for places in (split.domains, split.groups):
            assert places.names == ("place 0", "place 1", "place 2")
            assert places.numbers.tolist() == [0, 1, 2, 0, 1, 2]


def test_names_of_iwildcam_that_are_there_twice(tmp_path, capsys):
    """As 'mazama temama' is, and 'lowland paca' among the English names that WiSE-FT has for them."""
    folder = iwildcam(tmp_path)
    table = folder / "categories.csv"
    table.write_text(table.read_text().replace("empty", "ocelot "))
    splits = load(tmp_path, "iwildcam")
    assert splits.classes.names == ("ocelot", "ocelot (1)", "cat, wild")
    assert splits.classes.spoken == ("ocelot", "ocelot", "cat, wild")
    assert capsys.readouterr().err.count("data: class 1 is 'ocelot', as class 0 is: ") == 1
    (tmp_path / "names.txt").write_text("Lowland paca\nlowland paca\ncat\n")
    splits = load(tmp_path, "iwildcam", classnames=tmp_path / "names.txt")
    assert splits.classes.names == ("Lowland paca", "lowland paca (1)", "cat")
    assert capsys.readouterr().err.count("data: class 1 is 'lowland paca', as class 0 is: ") == 1


def test_a_picture_in_two_published_splits_is_taken_as_it_is(tmp_path):
    folder = iwildcam(tmp_path)
    (folder / "train" / "val-0.jpg").write_bytes((folder / "train" / "train-0.jpg").read_bytes())
    assert registry.FORMATS["wilds"].published
    splits = load(tmp_path, "iwildcam")
    with pytest.raises(DataError, match="allowed: each picture in one of them"):
        compared(splits)
    assert len(compared(splits, published=True).ood_val) == 6


def test_paths_in_another_form_than_on_disk(tmp_path):
    """A table made where letters are one (NFC), pictures that a Mac has unpacked (NFD)."""
    folder = iwildcam(tmp_path)
    for path in (folder / "train").iterdir():
        path.rename(path.with_name(f"cafe\u0301-{path.name}"))
    table = (folder / "metadata.csv").read_text()
    for split in ("train", "test", "val", "id_val", "id_test"):
        table = table.replace(f",{split}-", f",caf\u00e9-{split}-")
    (folder / "metadata.csv").write_text(table)
    assert files(load(tmp_path, "iwildcam").id_train) == [f"cafe\u0301-train-{i}.jpg" for i in range(6)]


def test_fmow(tmp_path):
    fmow(tmp_path)
    splits = load(tmp_path, "fmow")
    for name, split in splits.parts.items():
        rows = [(n, category) for n, (_, _, category, _, ours) in enumerate(FMOW) if ours == name]
        assert files(split) == [f"rgb_img_{n}.png" for n, _ in rows], name
        assert split.labels.tolist() == [FMOW_CLASSES.index(category) for _, category in rows]
    assert (len(FMOW_CLASSES), FMOW_CLASSES[0], FMOW_CLASSES[61]) == (62, "airport", "zoo")
    assert list(FMOW_CLASSES) == sorted(FMOW_CLASSES)
    assert "satellite photo of a {} in the americas." in splits.classes.templates
    test = splits.tests["ood_test/test"]
    assert (test.domains.names, test.groups) == (("Africa", "Americas", "Asia"), None)
    assert test.domains.numbers.tolist() == [2, 1, -1, -1, 0], "WILDS leaves the region Other out of its worst region"
    assert splits.ood_val.domains.names == ("Africa", "Oceania")


def test_camelyon17(tmp_path):
    camelyon17(tmp_path)
    splits = load(tmp_path, "camelyon17")
    centers = {
        name: {int(file.split("_x_")[1].split("_")[0]) % 5 for file in files(s)} for name, s in splits.parts.items()
    }
    assert (centers["ood_val"], centers["ood_test/test"]) == ({1}, {2}), "of x = 100 + number; the center is number % 5"
    assert centers["id_train"] <= {0, 3, 4}
    held_out = sorted(files(splits.id_val) + files(splits.tests["id_test"]))
    assert len(held_out) == sum(n % 5 in (0, 3, 4) and n % 4 == 3 for n in range(24))
    assert abs(len(splits.id_val) - len(splits.tests["id_test"])) <= 1
    assert splits.ood_val.labels.tolist() == [n // 12 for n in range(24) if n % 5 == 1]
    test = splits.tests["ood_test/test"]
    assert (test.domains.names, test.groups.names) == (("hospital 2",), ("slide 2", "slide 7"))
    assert test.groups.numbers.tolist() == [n % 10 // 5 for n in range(24) if n % 5 == 2]
    assert set(splits.tests["id_test"].domains.names) <= {"hospital 0", "hospital 3", "hospital 4"}


def test_ood_val_is_drawn_by_the_seed(tmp_path):
    iwildcam(tmp_path)
    few = [
        registry.load(DataConfig(format="wilds", root=tmp_path, options={"name": "iwildcam", "ood_val": 4}), seed, VIEW)
        for seed in (0, 0, 1)
    ]
    whole = files(load(tmp_path, "iwildcam", options={"ood_val": None}).ood_val)
    found = [files(splits.ood_val) for splits in few]
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert all(len(part) == 4 and set(part) <= set(whole) for part in found)
    assert len(few[0].ood_val.domains.numbers) == len(few[0].ood_val.groups.numbers) == 4


def test_ood_val_may_have_as_many_of_each_class(tmp_path):
    folder = iwildcam(tmp_path)
    lines = (folder / "metadata.csv").read_text().splitlines()
    for number in range(12):
        lines.append(f"9{number},val,0,40,7,x,24,0,more-{number}.jpg,x")
        picture(folder / "train" / f"more-{number}.jpg", 100 + number)
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    counts = [load(tmp_path, "iwildcam", options={"ood_val": n, "balanced": True}).ood_val.counts(3) for n in (6, 9)]
    assert counts == [[2, 2, 2], [5, 2, 2]]


def fault(root: Path, name: str, **changes) -> str:
    with pytest.raises(DataError) as caught:
        load(root, name, **changes)
    return str(caught.value)


def test_faults_name_what_is_not_as_it_should_be(tmp_path):
    assert "no such folder; allowed: a folder that holds fmow_v1.1/rgb_metadata.csv" in fault(tmp_path / "gone", "fmow")
    folder = iwildcam(tmp_path)
    assert "iwildcam_v2.0 there; allowed: a folder that holds fmow_v1.1" in fault(tmp_path, "fmow")
    (folder / "train" / "train-3.jpg").unlink()
    assert "id_train: 1 of 6 files are not there, the first: " in fault(tmp_path, "iwildcam")
    assert load(tmp_path, "iwildcam", on_unreadable="skip").id_train.counts(3) == [1, 2, 2]
    table = folder / "metadata.csv"
    whole = table.read_text()
    table.write_text(whole.replace(",0,train-0.jpg", ",3,train-0.jpg"))
    assert "label 3; allowed: 0 to 2" in fault(tmp_path, "iwildcam")
    table.write_text(whole.replace(",0,train-0.jpg", ",?,train-0.jpg"))
    (line,) = (number for number, text in enumerate(whole.splitlines(), 1) if "train-0.jpg" in text)
    assert f"metadata.csv, line {line}: '?' in the column 'y'; allowed: a whole" in fault(tmp_path, "iwildcam")
    table.write_text(whole.replace(",val,", ",valid,"))
    assert "metadata.csv, line" in (said := fault(tmp_path, "iwildcam"))
    assert "the split 'valid'; allowed: " in said
    table.write_text(whole.replace("location_remapped", "location_mapped"))
    assert "no column 'location_remapped'" in fault(tmp_path, "iwildcam")
    table.write_text("\n".join(line for line in whole.splitlines() if ",val," not in line))
    assert "no rows of ood_val" in fault(tmp_path, "iwildcam")
    table.write_text(whole)
    names = (folder / "categories.csv").read_text()
    (folder / "categories.csv").write_text(names.replace("\n0,", "\n0.0,"))
    assert "'0.0' in the column 'y'; allowed: a whole number" in fault(tmp_path, "iwildcam")
    (folder / "categories.csv").unlink()
    assert "categories.csv: no table that can be read" in fault(tmp_path, "iwildcam")


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("fmow", "airport,", "airprot,", "'airprot' in the column 'category'; allowed: airport, airport_hangar, "),
        ("fmow", "2017-08-01", "17-08-01", "in the column 'timestamp'; allowed: a date that begins with its year"),
        ("iwildcam", ",train-0.jpg", ",", "nothing in the column 'filename'; allowed: a value in each row"),
        ("iwildcam", ",val,0,", ",val,,", "nothing in the column 'location_remapped'; allowed: a value in each row"),
        ("camelyon17", "1,001,", "1,one,", "'one' in the column 'patient'; allowed: a whole number"),
        ("camelyon17", ",4,0", ",9,0", "'9' in the column 'center'; allowed: 0, 1, 2, 3, 4"),
    ],
)
def test_a_line_that_is_none(tmp_path, name, old, new, words):
    MAKERS[name](tmp_path)
    (table,) = (path for path in tmp_path.glob("*/*metadata.csv"))
    lines = table.read_text().splitlines()
    (first, *_) = (number for number, line in enumerate(lines) if old in line)
    lines[first] = lines[first].replace(old, new)
    table.write_text("\n".join(lines))
    said = fault(tmp_path, name)
    assert f"{table}, line {first + 1}: " in said
    assert words in said


def test_settings_name_a_set_and_a_root():
    faults = registry.faults(DataConfig(format="wilds"))
    assert [(fault.field, fault.found) for fault in faults] == [
        ("data.root", "nothing given"),
        ("data.options.name", "nothing given"),
    ]
    assert faults[1].allowed == "iwildcam, fmow, camelyon17"
    (odd,) = registry.faults(DataConfig(format="wilds", root="x", options={"name": "fmov"}))
    assert "fmow" in odd.allowed
