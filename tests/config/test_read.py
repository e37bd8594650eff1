"""Reading settings: numbers are numbers, and every fault is reported at once with the nearest valid name."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from metaft import config
from metaft.config.read import from_mapping
from metaft.errors import ConfigError


def faults(*overrides: str, path: Path | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    return {fault.field: str(fault) for fault in caught.value.faults}


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "0.00001", "1.0e-05", ".00001"])
def test_numbers_are_numbers(text):
    assert config.load(None, [f"finetune.lr={text}"]).finetune.lr == 1e-5


def test_yaml_and_overrides_in_order(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("inner: {steps: 3, eps: 1e-4}\nseed: 5\n")
    cfg = config.load(path, ["inner.steps=7"])
    assert (cfg.inner.steps, cfg.inner.eps, cfg.seed) == (7, 1e-4, 5)


def test_dump_is_read_back(tmp_path):
    cfg = config.load(None, ["finetune.lr=1e-7", "objective.bounds={lr: [1e-9, 1e-3]}", "data.root=/x"])
    path = tmp_path / "c.yaml"
    path.write_text(config.dump(cfg))
    assert config.load(path) == cfg


def test_every_fault_at_once(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "seed: 1\nseed: 2\ninner: {stepps: 3, batch_size: true}\nfinetun: {lr: 3}\nfinetune: {lr: fast, epochs: 0}\n"
    )
    said = faults("search.mode=hypergrat", "lr=3", "x", path=path)
    assert "'inner.steps'" in said["inner.stepps"]
    assert "'finetune'" in said["finetun"]
    assert "'hypergrad'" in said["search.mode"]
    assert "key 'seed' again in line 2" in said[str(path)]
    assert {"inner.batch_size", "finetune.lr", "finetune.epochs", "lr", "x"} <= said.keys()
    assert len(said) == 9


def test_no_is_a_word_and_a_quoted_number_is_text():
    assert config.load(None, ["data.format=no"]).data.format == "no"
    assert "inner.steps" in faults("inner.steps='7'")


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_broken_files(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        config.load(path)
    with pytest.raises(ConfigError, match="cannot read"):
        config.load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="no regular file") as caught:
        config.load(tmp_path)
    assert caught.value.faults[0].nearest != str(tmp_path)


def test_all_faults_survive_the_way_between_processes():
    with pytest.raises(ConfigError) as caught:
        config.load(None, ["inner.stepps=3", "seed=x"])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.faults, again.partial, str(again)) == (
        caught.value.faults,
        caught.value.partial,
        str(caught.value),
    )


TYPED = ("2024", "007", "1_000", "1e5", "2024-01-02", "true", "0x10", ".5")


@pytest.mark.parametrize("text", TYPED)
def test_text_stays_what_was_typed(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(f"data: {{root: {text}, templates: {text}}}\nmodel:\n  pretrained: {text}\nout: {text}\n")
    keys = ("data.root", "data.templates", "model.pretrained", "out")
    for cfg in (config.load(path), config.load(None, [f"{key}={text}" for key in keys])):
        found = (cfg.data.root, cfg.data.templates, cfg.model.pretrained, cfg.out)
        assert [str(value) for value in found] == [text] * 4
    assert config.load(None, ["model.pretrained=null"]).model.pretrained is None
    assert config.load(None, ["model.pretrained='12'"]).model.pretrained == "12"


@pytest.mark.parametrize(
    "text", ["/x/a #b", "a: b", "pics:", "[old] pics", "trail ", "{a}", "- a", "&a b", "a\tb", "*"]
)
def test_on_the_command_line_a_path_is_no_yaml(text):
    assert str(config.load(None, [f"data.root={text}"]).data.root) == text


@pytest.mark.parametrize(
    "text", ["round #2", "a: b", "1.0", "1e5", "true", "[x].csv", "{train,more}.tar", "*.csv", "- a", "@a", "007", "no"]
)
def test_on_the_command_line_an_option_is_no_yaml(text):
    options = config.load(None, [f"data.options.id_train={text}", f"data.options.more.web={text}"]).data.options
    assert options == {"id_train": text, "more": {"web": text}}


def test_options_may_be_lists_mappings_nothing_and_in_quotes():
    words = ("tests=[a, 2]", "more={web: 1.5}", "id_val=null", "id_train='7'", "domain_key=")
    assert config.load(None, [f"data.options.{word}" for word in words]).data.options == {
        **{"tests": ["a", 2], "more": {"web": 1.5}},
        **{"id_val": None, "id_train": "7", "domain_key": None},
    }
    assert "again" in faults("data.options.more={a: b, a: c}")["data.options.more"]


def test_a_colour_is_as_it_is_written():
    assert config.load(None, ["data.ground=#ff0000"]).data.ground == "#ff0000"
    assert config.load(None, ["data.root="]).data.root is None


def test_numbered_folders_among_options_stay_what_was_typed():
    options = config.load(None, ["data.options={id_train: 0123}", "data.options.id_val=007"]).data.options
    assert options["id_val"] == "007"
    assert config.load(None, ["data.options.id_train=320"]).data.options == {"id_train": 320}


def test_home_and_variables_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PICS", "pictures")
    path = tmp_path / "c.yaml"
    path.write_text("out: ~/runs\ndata:\n  root: ~/${PICS}\n  classnames: $PICS/names.txt\n  templates: ~/t.txt\n")
    cfg = config.load(path, ["model.name=local-dir:~/clip", "model.pretrained=$PICS/x.pt", "search.warm_start=~/a"])
    assert (cfg.out, cfg.data.root, cfg.data.classnames) == (
        Path("/home/me/runs"),
        Path("/home/me/pictures"),
        Path("pictures/names.txt"),
    )
    assert (cfg.model.name, cfg.model.pretrained) == ("local-dir:/home/me/clip", "pictures/x.pt")
    assert (str(cfg.search.warm_start), cfg.data.templates) == ("/home/me/a", "/home/me/t.txt")


def test_a_file_of_a_windows_editor(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 5\r\ndata:\r\n  root: pics\r\n")
    assert config.load(path).seed == 5


def test_short_bounds_and_unknown_colours():
    assert "at least 2 values" in faults("objective.bounds.lr=[1e-5]")["objective.bounds.lr"]
    assert "a colour" in faults("data.ground=pinkk")["data.ground"]


@pytest.mark.parametrize("key", ["010", "1e3", "0x10", "12:30", "null", "1_0", "2014-01-02", "yes", "1.50"])
def test_keys_are_what_was_typed(tmp_path, key):
    path = tmp_path / "c.yaml"
    path.write_text(f"data:\n  options:\n    ood_test: {{{key}: dusk}}\n")
    assert config.load(path).data.options == {"ood_test": {key: "dusk"}}
    assert config.load(None, [f"data.options.more={{{key}: a}}"]).data.options == {"more": {key: "a"}}


def test_a_key_is_text(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("data: {? [a, b] : 1}\n")
    assert "a key that is no text" in str(faults(path=path))


def test_many_unknown_keys_are_told_at_once():
    with pytest.raises(ConfigError, match="and 9980 more") as caught:
        from_mapping({f"kd{i}": 1 for i in range(10_000)})
    assert len(caught.value.faults) == 10_000


@pytest.mark.parametrize("override", ["inner.steps=[", "seed=\0", "report.title=\udcff", "seed=&a [*a]", "seed=!x 1"])
def test_what_is_no_yaml_is_one_fault(override):
    assert list(faults(override)) == [override.partition("=")[0]]


def test_files_that_cannot_be_read_say_why(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.yaml").write_text("#" * 2**21)
    (tmp_path / "wide.yaml").write_bytes("seed: 1".encode("utf-16"))
    for name, words in (("pipe", "no regular file"), ("large.yaml", "1,048,576 bytes"), ("wide.yaml", "utf-8")):
        assert words in faults(path=tmp_path / name)["--config"]
    assert "null byte" in faults(path=tmp_path / "a\0b")["--config"]


def test_a_dotted_key_has_an_end():
    with pytest.raises(ConfigError, match="unknown key"):
        from_mapping({".".join(["inner", *"a" * 10_000]): 1})
    assert from_mapping({"data.options.more.web": "w"}).data.options == {"more": {"web": "w"}}


def test_text_in_options_is_written_as_text(tmp_path):
    cfg = from_mapping({"data.options": {"id_val": "1e5", "more": {"web": "010"}}, "report.title": "no"})
    (tmp_path / "c.yaml").write_text(config.dump(cfg))
    assert config.load(tmp_path / "c.yaml") == cfg
