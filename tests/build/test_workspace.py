"""The device is asked for where the model is loaded, not where settings are checked."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from metaft import build, config
from metaft.build.workspace import device, workspace
from metaft.data import registry
from metaft.data.types import Domains
from metaft.errors import ConfigError
from metaft.provenance import identity, run_id
from tests.data import test_wilds


def test_a_device_that_is_not_there_is_refused():
    cfg = config.load(None, ["device=cuda:99"])
    build.check(cfg)
    with pytest.raises(ConfigError, match=r"device: 'cuda:99' \(.*\); allowed: auto"):
        workspace(cfg)


def test_whatever_is_known_of_images_is_in_their_fingerprint(work):
    ood_val = work.splits.ood_val
    numbers = torch.arange(len(ood_val)) % 2

    def fingerprint(**known):
        splits = replace(work.splits, ood_val=replace(ood_val, **known))
        return replace(work, splits=splits).fingerprints["ood_val"]["sha256"]

    ways = [
        {},
        {"domains": Domains(("a", "b"), numbers)},
        {"domains": Domains(("a", "c"), numbers)},
        {"domains": Domains(("a", "b"), 1 - numbers)},
        {"groups": Domains(("a", "b"), numbers)},
        {"labels": ood_val.labels.flip(0)},
    ]
    assert len({fingerprint(**known) for known in ways}) == len(ways)


def test_other_threads_are_other_code_alone(work):
    """They round otherwise, in a head of class names too."""
    before, threads = identity(work), torch.get_num_threads()
    other = replace(work, classifier=copy.deepcopy(work.classifier))
    with torch.no_grad():
        other.classifier.head.weight.add_(1e-7)
    try:
        torch.set_num_threads(threads + 1)
        after = identity(other)
    finally:
        torch.set_num_threads(threads)
    assert run_id(after) == run_id(before)
    assert {part for part in before if after[part] != before[part]} == {"code"}
    with torch.no_grad():
        next(other.classifier.clip.parameters()).add_(1e-3)
    assert run_id(identity(other)) != run_id(before)


@pytest.mark.parametrize(
    ("words", "metric"),
    [
        (["data.format=wilds", "data.options.name=iwildcam"], "macro_f1"),
        (["data.format=wilds", "data.options.name=fmow"], "worst_group"),
        (["data.format=wilds", "data.options.name=camelyon17"], "accuracy"),
        (["data.format=caltech101"], "mean_per_class"),
        (["data.format=flowers102"], "mean_per_class"),
        *(([f"data.format={name}"], "accuracy") for name in ("cifar10", "imagenet", "cars", "sst2", "patchcamelyon")),
        (["data.format=folder"], None),
        (["data.format=digits"], None),
    ],
)
def test_what_papers_report_of_a_set(words, metric):
    """The main metrics of the 38 data sets of DataComp (github.com/mlfoundations/datacomp, tasklist.yml)."""
    assert registry.metric(config.load(None, words).data) == metric


def test_the_metric_is_that_of_the_set_unless_the_settings_name_one(tmp_path, capsys):
    test_wilds.MAKERS["iwildcam"](tmp_path)
    (tmp_path / "templates.txt").write_text("{}\n")
    words = ["data.format=wilds", "data.options.name=iwildcam", f"data.root={tmp_path}", "data.options.ood_val=20"]
    words.append(f"data.templates={tmp_path / 'templates.txt'}")
    assert workspace(config.load(None, words)).search.metric == "macro_f1"
    assert "models are chosen by macro F1, as papers report it of this set" in capsys.readouterr().err
    assert workspace(config.load(None, [*words, "search.metric=nll"])).search.metric == "nll"
    assert "models are chosen by" not in capsys.readouterr().err


def test_own_images_are_judged_by_accuracy(work):
    assert config.load().search.metric == "auto"
    assert work.search.metric == "accuracy"


@pytest.mark.parametrize("name", ["meta", "vulkan", "cuda:\u0663", "cuda:99999999999999999999"])
def test_devices_that_compute_nothing_are_refused(name):
    with pytest.raises(ConfigError, match=r"device: .*; allowed: auto, cpu, cuda, cuda:N"):
        device(config.load(None, [f"device={name}"]))
