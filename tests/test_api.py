"""The public functions: settings and objects lead to the same results, and every bad argument is named."""

from __future__ import annotations

import doctest
import importlib
import json
import runpy
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import metaft
from metaft.api import EXAMPLE
from metaft.errors import ConfigError, DataError, DivergedError
from metaft.run import main
from tests.conftest import by_default

ROOT = Path(__file__).parent.parent
CLASSES = ("dark", "light")
SMALL = {**{key: value for key, value in EXAMPLE.items() if key != "data"}, "finetune.batch_size": 8}


class Squares(Dataset):
    """Dark and light pictures of 40 x 48 pixels."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed

    def __len__(self):
        return self._count

    def __getitem__(self, i):
        if i >= self._count:
            raise IndexError(i)
        pixels = np.random.default_rng([self._seed, i]).integers(100, size=(40, 48, 3)) + 150 * (i % 2)
        return Image.fromarray(pixels.astype(np.uint8)), i % 2


class Changed(Dataset):
    """A dataset with one item changed."""

    def __init__(self, base, change, at=3):
        self._base, self._change, self._at = base, change, at

    def __len__(self):
        return len(self._base)

    def __getitem__(self, i):
        image, label = self._base[i]
        return self._change(image, label) if i == self._at else (image, label)


@pytest.fixture(scope="module")
def toy():
    from metaft.clip import embedded

    path = embedded.checkpoint("toy-clip", 0)
    model, _, preprocess = open_clip.create_model_and_transforms("toy-clip", pretrained=str(path))
    return {"model": model, "preprocess": preprocess, "tokenizer": open_clip.get_tokenizer("toy-clip")}


@pytest.fixture
def objects(toy):
    sizes = {"id_train": 24, "id_val": 8, "ood_val": 10, "id_test": 8, "ood_test/dusk": 8}
    splits = {name: Squares(size, seed) for seed, (name, size) in enumerate(sizes.items())}
    return {**toy, "classnames": CLASSES, "splits": splits}


def test_the_face_is_complete():
    wanted = {"search", "finetune", "compare", "evaluate", "load_objective", "Objective", "Space", "Float", "Int"}
    wanted |= {"Categorical", "TPE", "FTPAdamW", "differentiate", "Unroll", "Truncated", "Forward", "Implicit"}
    assert wanted <= set(metaft.__all__) == set(dir(metaft)) & set(metaft.__all__)
    for name in metaft.__all__:
        assert getattr(metaft, name).__doc__
    with pytest.raises(AttributeError):
        _ = metaft.serch


def test_search_and_finetune_are_packages_too():
    from metaft import search
    from metaft.search.tpe.tpe import TPE

    assert metaft.TPE is TPE
    assert search.__name__ in ("search", "metaft.search")
    assert callable(importlib.import_module("metaft.search"))
    assert callable(importlib.import_module("metaft.finetune"))


DOCUMENTED = ("Objective", "load_objective", "Space", "Float", "Int", "Categorical", "TPE", "FTPAdamW", "differentiate")
DOCUMENTED += ("Unroll", "Truncated", "Forward", "Implicit", "search", "finetune", "compare", "evaluate", "Fitted")
DOCUMENTED += ("Results", "SearchResult", "Config", "Differences")
SLOW = {"search", "SearchResult", "Results", "evaluate"}


@pytest.mark.parametrize("name", by_default(set(DOCUMENTED) - SLOW, DOCUMENTED))
def test_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public = getattr(metaft, name)
    target = getattr(public, "__wrapped__", public)
    module = importlib.import_module(target.__module__)
    (examples, *_) = doctest.DocTestFinder(recurse=False).find(target, name, module, vars(module).copy())
    assert examples.examples, f"{name} has no example"
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_all_public_names_have_an_example():
    assert set(DOCUMENTED) == set(metaft.__all__)


@pytest.mark.full
def test_settings_in_every_form_mean_the_same(tmp_path):
    path = tmp_path / "c.yaml"
    options = {"id_train": 100, "id_val": 40, "ood_val": 60, "test": 40}
    path.write_text(
        "inner: {steps: 2, batch_size: 8}\nsearch: {trials: 2, candidates: 1}\nfinetune: {epochs: 1}\n"
        f"data: {{options: {json.dumps(options)}}}\nevaluation: {{methods: [ft]}}\n"
    )
    few = {"evaluation": {"methods": ("ft",)}}  # without ft_ood_val, which a search would ask for
    nested = {"inner": {"steps": 2, "batch_size": 8}, "search": {"trials": 2, "candidates": 1}, "data.options": options}
    nested |= {"finetune.epochs": 1, **few}
    dotted = {"inner.steps": 2, "inner.batch_size": 8, "search.trials": 2, "search.candidates": 1, "seed": 0}
    dotted |= {"finetune.epochs": 1, "evaluation.methods": ["ft"]}
    results = [
        metaft.search(settings, mode="random")
        for settings in (nested, {**dotted, "data": {"options": options}}, metaft.Config(**EXAMPLE | few))
    ]
    assert results[0].objective == results[1].objective == results[2].objective
    assert metaft.search(path, mode="random").objective == results[0].objective
    with pytest.raises(FrozenInstanceError):
        results[0].value = 0.0


@pytest.mark.full
def test_the_command_line_and_the_api_agree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"{key}={json.dumps(value)}" for key, value in EXAMPLE.items()]
    assert main(["--mode", "random", "--out", "run", "evaluation.methods=[zero_shot, autoft]", *words]) == 0
    theirs = metaft.Results.load("run")
    ours = metaft.compare(EXAMPLE, methods=["zero_shot", "autoft"], mode="random")
    assert ours.metrics == theirs.metrics
    assert ours.objective == theirs.objective
    assert ours.search["trials"] == theirs.search["trials"] == 2
    assert ours.mode == theirs.mode == "random"
    ours.save("again")
    assert metaft.Results.load("again").to_dict() == json.loads(json.dumps(ours.to_dict()))
    assert (tmp_path / "again" / "report.html").exists()
    assert "| autoft" in ours.table()


@pytest.mark.full
def test_a_comparison_tells_what_to_hand_back():
    results = metaft.compare(EXAMPLE, methods=["zero_shot", "linear_probe_ood_val", "best_by_ood_val", "oracle"])
    kept = results.handed_back
    assert kept.method in ("zero_shot", "linear_probe_ood_val")
    assert kept.ood_val == results.ood_val[kept.method]
    assert set(results.ood_val) == set(results.methods)
    assert metaft.compare(EXAMPLE, methods=["oracle"]).handed_back is None
    named = {**EXAMPLE, "finetune": {"epochs": 1, "method": "zero_shot"}}
    kept = metaft.compare(named, methods=["zero_shot", "linear_probe"]).handed_back
    assert (kept.method, kept.reason) == ("zero_shot", "finetune.method names it")
    assert metaft.compare(named, methods=["linear_probe"]).handed_back.method == "linear_probe", "it is not compared"
    beside = {**EXAMPLE, "evaluation": {"methods": ["zero_shot"]}, "finetune": {"epochs": 1, "method": "ema"}}
    kept = metaft.compare(beside)
    assert (kept.methods, kept.handed_back.method) == (("zero_shot", "ema"), "ema"), "as a run does"


def test_a_method_whose_numbers_mean_nothing_has_no_row():
    """Its weights are finite, and what it says of an image is not."""
    results = metaft.compare({**EXAMPLE, "finetune.lr": 1e20}, methods=["zero_shot", "ft"])
    assert results.methods == ("zero_shot",)
    assert "diverged" in results.failed["ft"]
    with pytest.raises(DivergedError, match="diverged"):
        metaft.evaluate(metaft.finetune({**EXAMPLE, "finetune.lr": 1e20}, method="ft"))


def test_objects_from_search_to_a_folder_that_open_clip_opens(objects, tmp_path):
    before = {name: p.clone() for name, p in objects["model"].state_dict().items()}
    untested = {name: data for name, data in objects["splits"].items() if "test" not in name}
    found = metaft.search({**SMALL, "search.trials": 10}, mode="hypergrad", **{**objects, "splits": untested})
    fitted = metaft.finetune(SMALL, objective=found.objective, architecture="toy-clip", **objects)
    assert fitted.classnames == CLASSES
    results = metaft.evaluate(fitted)
    assert results.splits == ("id_test", "ood_test/dusk")
    assert results.metrics["autoft"]["id_test"]["accuracy"] > 0.9
    assert results.provenance["suite"] == {"format": "objects", "version": None}
    fitted.save(tmp_path / "model")
    opened, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'model'}")
    torch.testing.assert_close(opened.visual.proj, fitted.classifier.clip.visual.proj)
    assert all(torch.equal(p, before[name]) for name, p in objects["model"].state_dict().items()), "it is copied"


def test_images_come_in_three_forms(objects):
    """PIL through open_clip's transform, the same as ready tensors, and as pixels at the model's size."""
    preprocess = objects["preprocess"]

    def changed(make):
        return {name: [make(image, label) for image, label in data] for name, data in objects["splits"].items()}

    ready = changed(lambda image, label: (preprocess(image), torch.tensor(label)))
    small = changed(lambda image, label: (image.resize((32, 32)), label))
    pixels = changed(
        lambda image, label: (torch.from_numpy(np.array(image.resize((32, 32)))).permute(2, 0, 1), np.int64(label))
    )
    scores = [
        metaft.compare(SMALL, methods=["zero_shot", "ft"], **{**objects, "splits": splits}).metrics
        for splits in (objects["splits"], ready, small, pixels)
    ]
    assert scores[0] == scores[1]
    for method in ("zero_shot", "ft"):
        for split in ("id_test", "ood_test/dusk"):
            one, other = (s[method][split]["ece"] for s in scores[2:])
            assert one == pytest.approx(other, abs=1e-4)


def test_id_val_is_held_out_where_there_is_none(objects):
    splits = {name: data for name, data in objects["splits"].items() if name != "id_val"}
    assert metaft.compare(SMALL, methods=["ft"], **{**objects, "splits": splits}).methods == ("ft",)


def test_domains_and_groups_beside_the_splits(objects):
    """The worst domain and the intervals over whole groups are those of the images that a person says."""
    places = {"ood_val": ["sea", "land"] * 5, "ood_test/dusk": np.repeat([10, 9], 4)}
    cameras = {
        "id_val": range(8),
        "ood_val": torch.arange(10) // 2,
        "id_test": [0] * 8,
        "ood_test/dusk": [1, 2, 3, 3] * 2,
    }
    results = metaft.compare(SMALL, methods=["zero_shot"], domains=places, groups=cameras, **objects)
    dusk, id_test = (results.scores["zero_shot"][name] for name in ("ood_test/dusk", "id_test"))
    fitted = metaft.finetune(SMALL, method="zero_shot", **objects)
    images = torch.stack([objects["preprocess"](image) for image, _ in objects["splits"]["ood_test/dusk"]])
    right = (fitted.classifier(images).logits.argmax(dim=1) == torch.arange(8) % 2).double()
    assert set(dusk.by_domain) == {"9", "10"}
    assert dusk.by_domain["10"].metrics["accuracy"] == pytest.approx(right[:4].mean().item())
    assert dusk.metrics["worst_group"] == pytest.approx(min(right[:4].mean(), right[4:].mean()).item())
    assert (dusk.groups, id_test.groups) == (3, 0), "of one group there is no other to draw"
    assert "worst_group" not in id_test.metrics
    worst = {**SMALL, "search.metric": "worst_group"}
    assert metaft.search(worst, mode="random", domains=places, **objects).trials
    with pytest.raises(DataError, match="there are no two domains or groups"):
        metaft.search(worst, mode="random", **objects)


def refused(error, *words, settings=SMALL, call=metaft.compare, **objects):
    with pytest.raises(error) as caught:
        call(settings, methods=["zero_shot"], **objects) if call is metaft.compare else call(settings, **objects)
    for word in words:
        assert word in str(caught.value), str(caught.value)


class Streamed(IterableDataset):
    def __iter__(self):
        yield 0, 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image, label: image, ["item 3 has a Image without a label", "a pair (image, label)"]),
        (lambda image, label: (image, "dark"), ["item 3 has label 'dark'", "whole numbers from 0 to 1"]),
        (lambda image, label: (image, 1.0), ["item 3 has label 1.0"]),
        (lambda image, label: (image, True), ["item 3 has label True"]),
        (lambda image, label: (image, 2), ["item 3 has label 2", "from 0 to 1"]),
        (lambda image, label: (image, -1), ["item 3 has label -1"]),
        (lambda image, label: (image, torch.tensor([0, 1])), ["item 3 has label tensor"]),
        (lambda image, label: (torch.zeros(3, 64, 64), label), ["shape [3, 64, 64]", "[3, 32, 32], or PIL images"]),
        (lambda image, label: (torch.zeros(32, 32, 3), label), ["shape [32, 32, 3]"]),
        (lambda image, label: (torch.zeros(3, 32, 32, dtype=torch.int64), label), ["torch.int64", "uint8 in 0 to 255"]),
        (lambda image, label: (np.zeros((3, 32, 32)), label), ["ndarray", "a PIL image or a tensor"]),
        (lambda image, label: (torch.zeros(3, 32, 32, dtype=torch.uint8), label), ["after others of torch.float32"]),
    ],
)
def test_bad_items_are_named(objects, change, words):
    splits = {**objects["splits"], "ood_val": Changed(objects["splits"]["ood_val"], change)}
    refused(DataError, "splits['ood_val']", *words, **{**objects, "splits": splits})


@pytest.mark.parametrize(
    ("name", "dataset", "words"),
    [
        ("id_train", [], ["splits['id_train']: empty; allowed: at least one image"]),
        ("id_train", TensorDataset(torch.zeros(4, 3, 32, 32)), ["item 0 has a tuple without a label"]),
        (
            "ood_val",
            [(torch.zeros(3, 32, 32), 0, torch.zeros(2))],
            ["item 0 has a tuple of 3", "beside the splits, as"],
        ),
        ("ood_val", Streamed(), ["splits['ood_val']: a Streamed", "map-style"]),
        ("ood_val", 7, ["splits['ood_val']: a int"]),
    ],
)
def test_bad_datasets_are_named(objects, name, dataset, words):
    refused(DataError, *words, **{**objects, "splits": {**objects["splits"], name: dataset}})


def test_a_split_given_twice_is_named(objects):
    splits = objects["splits"]
    twice = {**splits, "ood_val": splits["id_train"]}
    refused(ConfigError, "splits['ood_val']: images that splits['id_train'] has too", **{**objects, "splits": twice})
    part = {**splits, "id_train": Subset(splits["id_train"], range(20)), "id_val": Subset(splits["id_train"], [19, 20])}
    refused(ConfigError, "splits['id_val']: images that splits['id_train'] has too", **{**objects, "splits": part})
    apart = {**part, "id_val": Subset(splits["id_train"], [20, 21])}
    assert metaft.compare(SMALL, methods=["zero_shot"], **{**objects, "splits": apart}).methods == ("zero_shot",)
    refused(
        ConfigError,
        "splits: given, and settings under data too",
        settings={**SMALL, "data.format": "shapes"},
        **objects,
    )


def test_names_of_splits_are_checked(objects):
    some = dict(objects["splits"])
    some["ood_vall"] = some.pop("ood_val")
    refused(
        ConfigError,
        *("2 problems", "splits['ood_val']: missing", "splits['ood_vall']: unknown name", "Did you mean 'ood_val'?"),
        **{**objects, "splits": some},
    )
    untested = {name: data for name, data in objects["splits"].items() if "test" not in name}
    refused(ConfigError, "splits: no test among them", **{**objects, "splits": untested})


def test_models_of_others_are_refused(objects):
    refused(
        ConfigError,
        *("model: a Linear without visual", "which open_clip did not make", "open_clip.create_model_and_transforms"),
        **{**objects, "model": torch.nn.Linear(2, 2)},
    )
    refused(ConfigError, "architecture: 'toy-clap'", **{**objects, "architecture": "toy-clap"})
    other = "architecture: 'ViT-B-32', whose sizes are not the model's; allowed: toy-clip"
    refused(ConfigError, other, **{**objects, "architecture": "ViT-B-32"})


def test_arguments_that_belong_together(objects):
    refused(ConfigError, "classnames: not given", splits=objects["splits"])
    refused(ConfigError, "tokenizer: not given", model=objects["model"])
    refused(ConfigError, "unknown name 'modle'", "Did you mean 'model'?", modle=objects["model"])
    refused(ConfigError, "templates: 'a photo'", **{**objects, "templates": ["a photo"]})
    refused(ConfigError, "templates: 'a {} {'", **{**objects, "templates": ["a {} {"]})
    for odd in ("a\nb", "a\u2028b", "\ud800", 7, None):
        refused(ConfigError, "classnames: ", "as item 1", **{**objects, "classnames": ["dark", odd]})
    refused(ConfigError, "classnames: a str; allowed: a list of texts", **{**objects, "classnames": "ab"})
    passing = {**objects, "templates": (text for text in ["a {}"])}
    refused(ConfigError, "templates: a generator; allowed: a list of texts", **passing)
    refused(ConfigError, "groups: given, but splits are not", groups={"ood_val": [0]})
    refused(ConfigError, "domains: a list; allowed: lists by the names of splits", **{**objects, "domains": ["sea"]})
    with pytest.raises(ConfigError, match="objective: none, and autoft trains with one"):
        metaft.finetune(EXAMPLE, method="autoft")


@pytest.mark.parametrize("section", ["search", "evaluation"])
def test_objects_stay_in_this_process(objects, section):
    settings = {**SMALL, f"{section}.executor": "processes", f"{section}.workers": 2}
    refused(ConfigError, f"{section}.executor: 'processes'", settings=settings, **objects)


def test_arguments_of_other_types_are_named(objects, tmp_path):
    refused(ConfigError, "splits: a list; allowed: datasets by the names", **{**objects, "splits": [1]})
    alike = {**objects, "classnames": ["same", "same"]}
    refused(DataError, "the name of class same is 'same', as that of same", **alike)
    for tokenizer, said in ((lambda texts: None, "gives a NoneType"), ([], "cannot take captions ('list' object")):
        refused(ConfigError, f"tokenizer: one that {said}", **{**objects, "tokenizer": tokenizer})
    for methods in (3, "ft"):
        with pytest.raises(ConfigError, match=f"methods: a {type(methods).__name__}; allowed: a list of names"):
            metaft.compare(EXAMPLE, methods=methods)
    with pytest.raises(ConfigError, match=r"fitted: a str; allowed: what metaft\.finetune returned"):
        metaft.evaluate("x")
    (tmp_path / "file").write_text("")
    fitted = metaft.finetune(EXAMPLE, method="zero_shot")
    for folder in (tmp_path / "file", f"{tmp_path}/a\0b", ""):
        with pytest.raises(ConfigError, match=r"folder: .*allowed: a folder that can be made and written to"):
            fitted.save(folder)


def test_preprocessing_that_fails_names_its_item(objects):
    def refuse(image):
        raise ZeroDivisionError("no pixels")

    said = "item 0 has an image that preprocess cannot take (no pixels)"
    refused(DataError, said, **{**objects, "preprocess": refuse})


def test_bad_settings_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        metaft.search({"inner": {"stepps": 3}, "search.trials": 0})
    assert {fault.field for fault in caught.value.faults} == {"inner.stepps", "search.trials"}
    with pytest.raises(ConfigError, match="'hinge'"):
        metaft.search({"objective.terms": ["hing"]})
    with pytest.raises(ConfigError, match=r"cannot read absent\.yaml"):
        metaft.search("absent.yaml")
    with pytest.raises(ConfigError, match="settings: a list; allowed: a path, a mapping"):
        metaft.search(["inner.steps=3"])
    with pytest.raises(ConfigError, match="'zeroshot'"):
        metaft.compare(EXAMPLE, methods=["zeroshot"])


def test_a_model_without_its_architecture_is_not_written(objects, tmp_path):
    fitted = metaft.finetune(SMALL, method="zero_shot", **objects)
    with pytest.raises(ConfigError, match="architecture: not given with the model"):
        fitted.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_methods_that_need_more_data_are_named(objects):
    with pytest.raises(ConfigError, match=r"methods: 'oracle', which these data cannot serve; allowed: zero_shot, "):
        metaft.compare(SMALL, methods=["zero_shot", "oracle"], **objects)
    several = {**SMALL, "evaluation.methods": ["zero_shot", "oracle"]}
    assert metaft.compare(several, **objects).methods == ("zero_shot",), "left out where nobody insists"


def test_other_classes_are_refused(objects):
    fitted = metaft.finetune(SMALL, method="zero_shot", **objects)
    with pytest.raises(ConfigError, match="classnames: 2 classes, other than the 2 it was trained with"):
        metaft.evaluate(fitted, **{**objects, "classnames": ("light", "dark")})


@pytest.mark.parametrize("name", ["ridge", "noisy_labels", "convnet"])
def test_examples_of_differentiate(name):
    found = runpy.run_path(str(ROOT / "docs" / "examples" / f"{name}.py"))["main"]()
    if name == "ridge":
        exact = found["closed form"]
        for estimator in ("unroll", "forward", "implicit"):
            assert found[estimator] == pytest.approx(exact, rel=1e-9)
        assert found["truncated to 20"] == pytest.approx(exact, rel=0.01)
    elif name == "noisy_labels":
        right, wrong = found
        assert right > 0.7
        assert wrong < 0.3
    else:
        for ours, difference in found.values():
            assert ours == pytest.approx(difference, rel=1e-5)
