"""What opened data and an opened model cannot serve."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from metaft import config
from metaft.build.fits import methods, told_methods
from metaft.build.opened import faults_in
from metaft.build.workspace import workspace
from metaft.errors import ConfigError
from metaft.objective import Objective
from metaft.pipeline import checked
from tests.conftest import SMALL


def said(work, learned=None) -> list[str]:
    return [str(fault) for fault in faults_in(work, learned)]


def test_the_oracle_needs_a_labelled_half(picture_tree):
    cfg = config.load(None, ["data.format=folder", f"data.root={picture_tree}", "finetune.method=oracle"])
    with pytest.raises(ConfigError, match=r"finetune.method: .*'oracle', which this data set cannot serve"):
        checked(workspace(cfg))


def test_a_method_that_is_named_needs_its_data(picture_tree, capsys):
    words = ["data.format=folder", f"data.root={picture_tree}"]
    cfg = config.load(None, [*words, "evaluation.methods=[zero_shot, rehearsal]"])
    with pytest.raises(
        ConfigError, match=r"evaluation.methods: 'rehearsal', which this data set cannot serve; allowed"
    ):
        checked(workspace(cfg))
    work = checked(workspace(config.load(None, words)))
    capsys.readouterr()
    assert told_methods(work) == methods(work)
    line = "oracle: left out of evaluation.methods, since this data set cannot serve it\n"
    assert capsys.readouterr().err == line, "which is in the default list"


def test_what_is_served_has_no_fault(work):
    groups = {"stem": {"lr": 1e-3}, "block.0.mlp": {"wd": 0.5}}
    learned = Objective({"ce": 1.0}, 1e-3, 0.1, groups=groups, method="spd", knobs={"strength": 0.5})
    assert said(work, learned) == []
    assert checked(work, learned) is work


def test_a_precision_that_the_device_lacks(work, monkeypatch):
    monkeypatch.setattr("metaft.build.opened.served", lambda device: ("float32",))
    asked = config.load(None, [*SMALL, "finetune.precision=bfloat16", "inner.precision=bfloat16"])
    first, second = said(replace(work, cfg=asked))
    assert first.startswith("finetune.precision: 'bfloat16' on cpu; allowed: float32")
    assert second.startswith("inner.precision: 'bfloat16' on cpu; allowed: float32")


def test_every_pattern_must_match(work):
    wrong = ["finetune.exclude=[haed.*]", "evaluation.methods=[lora]"]
    (fault,) = said(replace(work, cfg=config.load(None, [*SMALL, *wrong])))
    assert fault.startswith("finetune.exclude: 'haed.*' matches no parameter")
    wrong = ["finetune.lora_targets=['*q_proj*']", "evaluation.methods=[lora]"]
    (fault,) = said(replace(work, cfg=config.load(None, [*SMALL, *wrong])))
    assert fault.startswith("finetune.lora_targets: '*q_proj*' matches no matrix")


def test_methods_that_need_several_templates_or_a_projection(work):
    cfg, model = config.load(None, [*SMALL, "evaluation.methods=[car_ft, carot]"]), copy.deepcopy(work.classifier)
    model.clip.visual.proj = None
    assert said(replace(work, cfg=cfg)) == []
    one, other = said(replace(work, cfg=cfg, tokens=work.tokens[:, :1], classifier=model))
    assert one.startswith(
        "data.templates: one template, and 'car_ft' tells contexts apart by templates; allowed: openai"
    )
    assert other.startswith(
        "evaluation.methods: 'carot', and the image tower has no projection; allowed: other methods"
    )


def test_a_prompt_needs_words_an_embedding_and_a_head_that_trains(work):
    named, freeze = [*SMALL, "evaluation.methods=[prompt]"], "model.freeze=['*token_embedding*', 'head.*']"
    asked = replace(work, cfg=config.load(None, named))
    assert said(asked) == []
    bare = torch.tensor([[[1, name, 9]] for name in range(2, 12)])
    (fault,) = said(replace(asked, tokens=bare))
    assert "no template has a word before it; allowed: other methods, or a template such as" in fault
    model = copy.deepcopy(work.classifier)
    del model.clip.token_embedding
    (fault,) = said(replace(asked, classifier=model, cfg=config.load(None, [*named, "model.freeze=[]"])))
    assert "no text tower with a token_embedding" in fault
    (fault,) = said(replace(work, cfg=config.load(None, [*named, freeze])))
    assert fault.startswith(
        "evaluation.methods: 'prompt' learns what head.weight is made of, and model.freeze keeps it"
    )


def test_an_objective_of_another_model(work):
    plain = Objective({"ce": 1.0}, 1e-3, 0.1)
    (fault,) = said(work, replace(plain, groups={"hed": {"lr": 1e-3}}))
    assert "unknown name 'hed'" in fault
    assert "Did you mean 'head'" in fault
    (fault,) = said(work, replace(plain, schedule=((0.5, replace(plain, groups={"hed": {"lr": 1e-3}})),)))
    assert "objective: groups: unknown name 'hed'" in fault
    (fault,) = said(work, replace(plain, sources={"ood_vall": 1.0}))
    assert "objective: sources: unknown name 'ood_vall'" in fault
    assert "Did you mean 'ood_val'" in fault
    (fault,) = said(work, replace(plain, method="spdd"))
    assert "objective: method: unknown name 'spdd'" in fault
    (fault,) = said(work, replace(plain, method="spd", knobs={"strength": 3.0}))
    assert fault.startswith("objective: method.spd.strength: 3.0; allowed: 0.0 to 2.0")


def test_an_objective_without_any_weight(work):
    plain = Objective({"ce": 1.0}, 1e-3, 0.1)
    for none in (replace(plain, terms={}), replace(plain, terms={"ce": 0.0, "kd": 0})):
        for given in (none, replace(plain, schedule=((0.5, none),))):
            (fault,) = said(work, given)
            assert fault.startswith("objective: terms: nothing with a weight, now or later; allowed: a term with")
    for some in ({"sources": {"ood_val": 1.0}}, {"groups": {"head": {"terms": {"l2init": 0.1}}}}):
        assert said(work, replace(plain, terms={}, **some)) == []
