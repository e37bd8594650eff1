"""Pictures by tables: as open_clip and others write them, the same splits as from folders, and every fault by line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from metaft.config.schema import DataConfig
from metaft.data import decoded, registry
from metaft.errors import DataError
from tests.data.test_folder import VIEW
from tests.data.test_folder import load as load_folder

SPLITS = ("id_train", "id_val", "ood_val", "id_test", "ood_test/dusk", "ood_test/dawn")


def table(root: Path, separator=",", header="filepath,label,split", label=str, end="\n", start="") -> str:
    """The rows of a picture tree."""
    lines = [header.replace(",", separator)]
    for split in SPLITS:
        for path in sorted((root / split).rglob("*.png")):
            lines.append(separator.join([str(path.relative_to(root)), label(path.parent.name), split]))
    return start + end.join(lines) + end


def load(root: Path, content: str | bytes | None = None, options=None, **changes):
    if content is not None:
        (root / "all.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    settings = {"format": "csv", "root": root, "options": options or {"file": "all.csv"}, **changes}
    return registry.load(DataConfig(**settings), 0, VIEW)


def fault(root: Path, content: str | bytes | None = None, **changes) -> str:
    with pytest.raises(DataError) as caught:
        load(root, content, **changes)
    return str(caught.value)


@pytest.mark.parametrize("look", [{}, {"separator": "\t"}, {"end": "\r\n", "start": "\ufeff"}])
def test_a_table_gives_the_splits_of_its_folders(picture_tree, look):
    ours, folders = load(picture_tree, table(picture_tree, **look)), load_folder(picture_tree)
    assert ours.classes == folders.classes
    assert list(ours.parts) == list(SPLITS)
    assert set(ours.parts) == set(folders.parts)
    for name, split in ours.parts.items():
        assert torch.equal(split.labels, folders.parts[name].labels)
        assert torch.equal(split.source.pixels(range(20)), folders.parts[name].source.pixels(range(20)))


@pytest.mark.parametrize("form", ["{}", "{}.0"])
def test_labels_may_be_numbers(picture_tree, form):
    numbers = {"dark_square": 9, "light_square": 10}
    content = table(picture_tree, label=lambda name: form.format(numbers[name]))
    (picture_tree / "names.txt").write_text("9 = night\n10 = day\n")
    splits = load(picture_tree, content, classnames=picture_tree / "names.txt")
    assert (splits.classes.folders, splits.classes.names) == (("9", "10"), ("night", "day"))
    assert splits.id_val.counts(2) == [10, 10]


def test_a_table_for_each_split_other_columns_and_captions(picture_tree, capsys):
    """FLYP's tables have a row for each caption of an image."""
    for split in SPLITS:
        rows = "".join(
            f'"a photo, of a {path.parent.name}"\t{path}\t{path.parent.name}\n' * 2
            for path in sorted((picture_tree / split).rglob("*.png"))
        )
        (picture_tree / f"{split.replace('/', '-')}.tsv").write_text("title\tpath\tclass\n" + rows)
    tests = {name: f"ood_test-{name}.tsv" for name in ("dusk", "dawn")}
    options = {name: f"{name}.tsv" for name in ("id_train", "ood_val", "id_test")}
    splits = load(picture_tree, options={**options, "ood_test": tests, "image_key": "path", "label_key": "class"})
    assert splits.id_train.counts(2) == [9, 9], "a tenth is held out"
    assert set(splits.tests) == {"id_test", "ood_test/dusk", "ood_test/dawn"}
    assert "ood_val: 20 pictures; left out: 20 listed again\n" in capsys.readouterr().err


def test_domains_of_ood_val(picture_tree):
    lines = table(picture_tree, header="filepath,label,split,domain").splitlines()
    content = [lines[0]]
    for number, line in enumerate(lines[1:]):
        content.append(f"{line},{'noon' if number % 3 else 'haze'}")
    domains = load(picture_tree, "\n".join(content)).ood_val.domains
    assert domains.names == ("haze", "noon")
    first = [number % 3 != 0 for number, line in enumerate(lines[1:]) if line.endswith("ood_val")]
    assert domains.numbers.tolist() == [int(noon) for noon in first]
    at = next(number for number, line in enumerate(content) if ",ood_val," in line)
    content[at] = content[at].rpartition(",")[0] + ","
    assert f"all.csv, line {at + 1}: no domain; allowed: " in fault(picture_tree, "\n".join(content))


def test_domains_and_groups_of_the_splits_that_judge(picture_tree):
    lines = table(picture_tree, header="filepath,label,split,hospital,group").splitlines()
    named = [f"{line},{('north', 'south')[number % 2]},p{number % 5}" for number, line in enumerate(lines[1:])]
    content = [lines[0], *named]
    content[1] = f"{lines[1]},,"  # of id_train
    options = {"file": "all.csv", "domain_key": "hospital"}
    splits = load(picture_tree, "\n".join(content), options=options)
    assert (splits.id_train.domains, splits.id_train.groups) == (None, None)
    rows = [number for number, line in enumerate(lines[1:]) if line.endswith("ood_test/dusk")]
    dusk = splits.tests["ood_test/dusk"]
    assert (dusk.domains.names, dusk.groups.names) == (("north", "south"), ("p0", "p1", "p2", "p3", "p4"))
    assert dusk.domains.numbers.tolist() == [row % 2 for row in rows]
    assert dusk.groups.numbers.tolist() == [row % 5 for row in rows]
    assert splits.id_val.groups is not None
    assert splits.ood_val.groups is not None
    at = rows[3] + 1
    content[at] = content[at].rpartition(",")[0] + ","
    said = fault(picture_tree, "\n".join(content), options=options)
    assert f"line {at + 1}: no group; allowed: one in each row of ood_test/dusk, or in none" in said


def test_one_column_may_be_both(picture_tree):
    lines = table(picture_tree, header="filepath,label,split,camera").splitlines()
    content = "\n".join([lines[0], *(f"{line},c{number % 3}" for number, line in enumerate(lines[1:]))])
    options = {"file": "all.csv", "domain_key": "camera", "group_key": "camera"}
    test = load(picture_tree, content, options=options).tests["id_test"]
    assert (test.domains.names, test.groups.names) == (("c0", "c1", "c2"), ("c0", "c1", "c2"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda text: text.replace("label", "labels", 1),
            "no column 'label'; allowed: it among the columns filepath, labels",
        ),
        (lambda text: text.replace("label", "labels", 1), "nearest: 'labels'"),
        (
            lambda text: text.replace(",ood_val", ",ood_vall", 1),
            "the split 'ood_vall'; allowed: id_train, id_val, ood_val",
        ),
        (lambda text: text.replace(",ood_val", ",ood_test/", 1), "the split 'ood_test/'"),
        (
            lambda text: text.replace("ood_test/dusk\n", "ood_test\n", 1),
            "the split 'ood_test'; allowed: id_train, id_val, ",
        ),
        (
            lambda text: text + "https://a.org/b.png,light_square,id_val\n",
            "https:/a.org/b.png, of a URL; allowed: all that {root}/all.csv lists, on this machine",
        ),
        (
            lambda text: text.replace("dark_square,ood_val", "dark_sqare,ood_val", 1),
            "class 'dark_sqare' unknown to id_train",
        ),
        (lambda text: text.replace(",dark_square,id_val", ",,id_val", 1), "nothing in the column 'label'"),
        (lambda text: text + "id_val/dark_square/0.png\n", "1 fields; allowed: 3"),
        (
            lambda text: text + "id_val/dark_square/0.png,light_square,id_val\n",
            "as 'light_square', 'dark_square' in line 22",
        ),
        (
            lambda text: text + "id_val/gone.png,light_square,id_val\n",
            "id_val: 1 of 21 files are not there, ",
        ),
        (
            lambda text: text.replace("ood_test/dusk\n", "id_test\n").replace("ood_test/dawn\n", "id_test\n"),
            "no rows of ood_test/NAME",
        ),
        (lambda text: text.splitlines()[0], "no rows; allowed: at least one"),
        (lambda text: text.replace(",", ";"), "';' between the columns; allowed: a tab or comma"),
        (lambda text: "sep=;\n" + text, "';' between the columns; allowed: a tab or comma"),
        (lambda text: text.replace(",", "|"), "'|' between the columns; allowed: a tab or comma"),
        (lambda text: text.replace("\n", ",,\n"), "2 columns without a name, as of commas at the ends of lines"),
        (
            lambda text: text + '"id_val/gone\n.png",light_square,id_val\n',
            "the first: {root}/id_val/gone\\n.png; allowed: ",
        ),
        (lambda text: "", "no column 'filepath'"),
        (lambda text: text + '"open', "no table that can be read"),
        (lambda text: text.encode("utf-16"), "no table that can be read"),
    ],
)
def test_faults_name_the_table_and_the_line(picture_tree, change, words):
    content = change(table(picture_tree))
    assert words.replace("{root}", str(picture_tree)) in (said := fault(picture_tree, content)), said
    assert str(picture_tree) in said or said.startswith("data.options: ")


def test_labels_out_of_range(picture_tree):
    numbers = {"dark_square": "0", "light_square": "1"}
    content = table(picture_tree, label=numbers.__getitem__).replace(",1,id_test", ",7,id_test", 1)
    assert "class '7' unknown to id_train; allowed: 0 to 1" in fault(picture_tree, content)


def test_a_class_that_skipping_would_lose(picture_tree):
    for image in (picture_tree / "id_val/dark_square").iterdir():
        image.write_bytes(b"")
    text = fault(picture_tree, table(picture_tree), on_unreadable="skip")
    assert f"{picture_tree / 'all.csv'}: no image of class dark_square is readable" in text


def test_settings_without_tables():
    (nothing,) = registry.faults(DataConfig(format="csv"))
    assert (nothing.field, nothing.found) == ("data.options", "nothing given")
    (few,) = registry.faults(DataConfig(format="csv", options={"id_train": "a.csv", "ood_val": "b.csv"}))
    assert (few.found, few.allowed) == ("id_train, ood_val", "file, or id_train, ood_val, id_test, ood_test")
    assert registry.faults(DataConfig(format="csv", options={"file": "a.csv"})) == []


def test_leading_zeros_are_part_of_a_name(picture_tree):
    numbers = {"dark_square": "007", "light_square": "010"}
    (picture_tree / "names.txt").write_text("007 = night\n010 = day\n")
    splits = load(picture_tree, table(picture_tree, label=numbers.__getitem__), classnames=picture_tree / "names.txt")
    assert (splits.classes.folders, splits.classes.names) == (("007", "010"), ("night", "day"))


def test_names_are_compared_in_the_composed_form(picture_tree):
    composed, taken_apart = "caf\u00e9", "cafe\u0301"
    content = table(picture_tree, label={"dark_square": composed, "light_square": "bar"}.__getitem__)
    head, *lines = content.splitlines()
    lines = [line.replace(composed, taken_apart) if ",ood_val" in line else line for line in lines]
    assert any(taken_apart in line for line in lines)
    splits = load(picture_tree, "\n".join([head, *lines, ""]))
    assert splits.classes.names == ("bar", composed)
    assert splits.ood_val.counts(2) == [10, 10]


@pytest.mark.parametrize("letter", ["\u2028", "\x85", "\x07", "\n"])
@pytest.mark.parametrize("column", ["label", "domain", "group"])
def test_names_do_not_break_their_lines(picture_tree, column, letter):
    lines = table(picture_tree, header="filepath,label,split,domain,group").splitlines()
    rows = [[*line.split(","), "d", "g"] for line in lines[1:]]
    rows[1][lines[0].split(",").index(column)] = f'"a{letter}b"'
    said = fault(picture_tree, "\n".join([lines[0], *map(",".join, rows)]))
    assert ascii(f"a{letter}b") in said
    assert f"in the column '{column}', with" in said


def test_labels_of_many_digits_have_an_order(picture_tree):
    content = table(picture_tree, label=lambda name: "9" * 5000 if name.startswith("light") else "1" + "0" * 5000)
    assert [len(folder) for folder in load(picture_tree, content).classes.folders] == [5000, 5001]


def test_a_pipe_is_no_table(picture_tree):
    os.mkfifo(picture_tree / "all.csv")
    assert "no regular file" in fault(picture_tree)


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "", " "])
def test_tests_have_plain_names(name):
    options = {"id_train": "a", "ood_val": "b", "id_test": "c", "ood_test": {name: "d"}}
    (found,) = registry.faults(DataConfig(format="csv", options=options))
    assert (found.field, "plain text" in found.allowed) == ("data.options.ood_test", True)


@pytest.mark.parametrize("memory", [decoded.MEMORY, 1], ids=["memory", "disk"])
@pytest.mark.parametrize("path", ["a" * 300, "a/" * 3000, "a\0b", "~\0"], ids=["name", "path", "null", "home"])
def test_files_that_there_cannot_be_are_skipped_or_refused(picture_tree, monkeypatch, capsys, path, memory):
    monkeypatch.setattr(decoded, "MEMORY", memory)
    content = table(picture_tree) + f"{path},dark_square,id_train\n"
    assert "1 of 21 files are not there" in fault(picture_tree, content)
    assert len(load(picture_tree, content, on_unreadable="skip").id_train) == 20
    assert "1 unreadable" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["-1", "-1.0", "nan", "NaN", "<NA>", "#N/A", "#REF!", "#DIV/0!", "NULL", "\\N"])
def test_a_label_that_says_none_is_no_class(picture_tree, label):
    content = table(picture_tree).replace("0.png,dark_square,id_train", f"0.png,{label},id_train", 1)
    assert f"the label {label!r}, as of an image without one" in fault(picture_tree, content)


def test_a_number_is_written_in_one_way(picture_tree):
    content = table(picture_tree, label=lambda name: {"dark_square": "1", "light_square": "01"}[name])
    said = fault(picture_tree, content)
    assert "'01'" in said
    assert "allowed: each number written in one way" in said


@pytest.mark.parametrize("field", ["domain_key", "group_key"])
def test_a_column_that_was_asked_for_is_there(picture_tree, field):
    options = {"file": "all.csv", field: "pateint"}
    header = "filepath,label,split"
    content = "\n".join(line + (",patient" if line == header else ",7") for line in table(picture_tree).splitlines())
    said = fault(picture_tree, content, options=options)
    assert said.startswith(f"data.options.{field}: 'pateint', which no table has; allowed: one of filepath, ")
    assert said.endswith("; nearest: 'patient'")


def test_a_column_by_its_usual_name_need_not_be_there(picture_tree):
    """As configs/csv.yaml names them all."""
    options = {"file": "all.csv", "domain_key": "domain", "group_key": "group"}
    assert load(picture_tree, table(picture_tree), options=options).ood_val.domains is None


def test_quotes_after_a_blank_are_none_of_a_label(picture_tree):
    content = table(picture_tree).replace(",", ", ").replace("dark_square,", '"dark_square",')
    assert load(picture_tree, content).classes.folders == ("dark_square", "light_square")


@pytest.mark.parametrize("quoted", ["'dark'", '"""dark"""', "'"])
def test_quotes_that_are_part_of_a_label_are_refused(picture_tree, quoted):
    content = table(picture_tree, label={"dark_square": quoted, "light_square": "light"}.__getitem__)
    assert ", of which the quotes are a part; allowed: labels without" in fault(picture_tree, content)


def test_paths_may_be_in_another_form_than_on_disk(picture_tree):
    content = table(picture_tree).replace("light_square/", "caf\u00e9/")
    for folder in picture_tree.rglob("light_square"):
        folder.rename(folder.with_name("cafe\u0301"))
    (picture_tree / "u\u0308ber.csv").write_text(content)
    splits = load(picture_tree, options={"file": "\u00fcber.csv"})
    assert splits.id_train.counts(2) == [10, 10]


def test_a_column_is_there_once(picture_tree):
    content = "\n".join(f"{line},x" for line in table(picture_tree).splitlines()).replace("split,x", "split,label", 1)
    assert "2 columns 'label'; allowed: one" in fault(picture_tree, content)


def test_a_picture_is_one_by_whatever_path(picture_tree):
    content = table(picture_tree)
    again = "id_train/../id_train/dark_square/0.png"
    assert len(load(picture_tree, f"{content}{again},dark_square,id_train\n").id_train) == 20
    assert "0.png as 'light_square', 'dark_square' in line 2" in fault(
        picture_tree, f"{content}{again},light_square,id_train\n"
    )


def test_a_picture_is_of_one_domain(picture_tree):
    rows = table(picture_tree).splitlines()
    content = "\n".join(f"{line},{'domain' if number == 0 else 'noon'}" for number, line in enumerate(rows))
    assert "as 'dusk', 'noon' in line" in fault(
        picture_tree, f"{content}\nood_val/dark_square/0.png,dark_square,ood_val,dusk\n"
    )


def test_classes_are_shown_where_none_is_near(picture_tree):
    said = fault(picture_tree, table(picture_tree) + "ood_val/dark_square/0.png,xyz,ood_val\n")
    assert said.endswith("class 'xyz' unknown to id_train; allowed: dark_square, light_square")


@pytest.mark.parametrize("label", ["None", "NA", "null", "N/A"])
def test_a_word_that_may_be_a_name_is_a_class(picture_tree, label):
    content = table(picture_tree).replace(",dark_square,", f",{label},")
    assert label in load(picture_tree, content).classes.names


def test_a_file_is_the_one_that_a_row_names(picture_tree, monkeypatch):
    """Though its name has a variable in it, which stands for something where there is no such file."""
    monkeypatch.setenv("SHADE", "dark_square")
    folder = picture_tree / "id_train" / "dark_square"
    (folder / "0.png").rename(folder / "a$SHADE.png")
    content = table(picture_tree).replace("id_train/dark_square/1.png", "id_train/$SHADE/1.png")
    names = {file.name for file in load(picture_tree, content).id_train.source.files}
    assert {"a$SHADE.png", "1.png"} < names


def test_what_is_between_columns_is_what_gives_those_that_are_wanted(picture_tree):
    plain = load(picture_tree, table(picture_tree))
    lines = table(picture_tree).splitlines()
    excel = "\n".join(["sep=,", *lines])
    ways = [
        "\n".join([f"{lines[0]}\t", *lines[1:]]),
        excel,
        excel.replace(",", "\t"),
        excel.replace("sep=,", '"sep=,"'),
    ]
    ways.append(table(picture_tree, separator="\t", header="filepath,label,split").replace("label", '"label"', 1))
    for content in ways:
        found = load(picture_tree, content)
        assert [split.labels.tolist() for split in found.parts.values()] == [
            split.labels.tolist() for split in plain.parts.values()
        ]
    assert "all.csv, line 3: nothing in the column 'label'" in fault(
        picture_tree, "\n".join(["sep=,", lines[0], lines[1].replace("dark_square,", ",")])
    )
    assert "';' between the columns" in fault(picture_tree, excel.replace(",", ";"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1\x15\x04", "a parquet file: data.format=hf reads it"),
        (b"ARROW1\0\0", "a file of Arrow: data.format=hf reads what save_to_disk wrote"),
        (b"\xff\xff\xff\xff\x10\0", "a file of Arrow: data.format=hf"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a workbook of Excel: save it as CSV"),
        (b'{"filepath": "a.png"}\n', "lines of JSON: save them as CSV, or as metadata.jsonl beside the pictures for"),
        (b'[\n {"filepath": "a.png"}]', "JSON: save it as CSV"),
    ],
)
def test_a_table_of_another_form_is_named(picture_tree, content, said):
    assert f"all.csv: {said}" in fault(picture_tree, content)
