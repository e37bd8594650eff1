"""Steps that compute blocks again for a derivative or are compiled, beside those that are neither."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from metaft import config
from metaft.build.check import faults_of
from metaft.build.opened import faults_in
from metaft.build.problem import inner_step, problem_in
from metaft.clip.running import compiled
from metaft.inner import Differences, Forward
from metaft.inner.diagnosis import explanation
from metaft.inner.running import RunningStep
from metaft.inner.storage import footprint_of
from tests.conftest import SMALL, by_default
from tests.inner.problems import hooked, problem, tiny
from tests.inner.test_step import Filled

AGAIN = {"kind": RunningStep, "checkpointing": True}
COMPILED = {"kind": RunningStep, "compile": True}
CLOSE = Differences("one", spacing=1e-4)
CASES = {
    "vit": lambda how: problem("vit", **how),
    "resnet": lambda how: problem("resnet", **how),
    "in parts": lambda how: problem("vit", accumulate=2, **how),
    "bfloat16": lambda how: problem("vit", precision="bfloat16", **how),
    "what a hook makes of its variables": lambda how: hooked("lora", {}, **how),
}


def same(found, others) -> bool:
    (value, by_name), (other, by_its_name) = found, others
    return bool(value == other) and all(torch.equal(by_name[k], by_its_name[k]) for k in by_its_name)


@pytest.mark.parametrize("name", by_default(("vit", "in parts"), CASES))
def test_not_one_bit_is_another(name):
    kept, again = (CASES[name](how).loop() for how in ({}, AGAIN))
    assert same(CLOSE(again), CLOSE(kept))
    state = kept.state
    for batch in kept.batches:
        state = kept.step.plain(state, batch, kept.h)
    assert all(map(torch.equal, again.plain(again.state, 0, len(again.batches)).params, state.params))


def test_forward_mode():
    found = []
    for how in ({}, AGAIN):
        case = problem("vit", **how)
        few = {name: case.h[name] for name in ("ce", "lr", "l2init")}
        found.append(Forward()(case.loop(step=Filled(case.step, case.h), h=few)))
    assert same(*found)


def explained(how) -> str:
    """What is said of a hypergradient that explodes by flyp."""
    case = problem("vit", **how)
    h = {**case.h, "flyp": torch.tensor(1e6).double()}
    return explanation(CLOSE, case.loop(h=h), case.step, h, 1e9)


def test_the_term_that_a_hypergradient_explodes_by():
    found = [explained(how) for how in ({}, AGAIN)]
    assert found[0] == found[1]
    assert found[0].endswith("term flyp")


def test_another_head_to_begin_with():
    head = {
        f"head.{name}": torch.full(shape, 0.1).double() for name, shape in {"weight": (4, 32), "bias": (4,)}.items()
    }
    kept, again = (problem("vit", **how) for how in ({}, AGAIN))
    begun = [replace(case, step=case.step.begun_at(head)).loop() for case in (again, kept)]
    assert same(*map(CLOSE, begun))
    assert not same(CLOSE(again.loop()), CLOSE(begun[0]))


def test_the_inside_of_blocks_is_not_kept():
    kept, again = (footprint_of(problem("vit", **how).loop(), graphs=False) for how in ({}, AGAIN))
    assert again.part < 0.2 * kept.part
    assert again.outer < 0.2 * kept.outer
    assert again.graph == kept.graph


def test_a_search_takes_the_setting(work):
    """Its forecasts name no way that graphs of blocks would be needed for."""
    few = [*SMALL, "search.mode=hypergrad", "hypergrad.estimator=differences", "hypergrad.spacing=1e-3"]
    asked = (few, [*few, "inner.checkpointing=true"])
    made = [problem_in(replace(work, cfg=config.load(None, words))) for words in asked]
    found = [one.hypergradient(one.start, 0) for one in made]
    assert torch.equal(found[0][1], found[1][1])
    assert {way for way, _ in made[0].forecasts.ways()} == {"unroll", "differences"}
    assert {way for way, _ in made[1].forecasts.ways()} == {"differences"}
    assert made[1].forecasts.of().bytes < made[0].forecasts.of().bytes


def test_what_keeps_graphs_is_refused():
    asked = [*SMALL, "inner.checkpointing=true"]
    told = "hypergrad.estimator: 'unroll' with inner.checkpointing; allowed: differences, forward."
    assert [str(fault) for fault in faults_of(config.load(None, [*asked, "search.mode=hypergrad"]))] == [told]
    assert faults_of(config.load(None, [*asked, "search.mode=tpe"])) == []


@pytest.mark.full
@pytest.mark.timeout(600)
def test_compiled_blocks_are_the_same_but_for_rounding(capsys):
    """Plain steps and hypergradients with what a hook makes of its variables, and with blocks computed again or not."""
    ways = ({}, COMPILED, {**COMPILED, "checkpointing": True})
    kept, *others = (CASES["what a hook makes of its variables"](how).loop() for how in ways)
    (value, slopes), end = CLOSE(kept), kept.plain(kept.state, 0, len(kept.batches))
    for loop in others:
        other, its = CLOSE(loop)
        assert_close(other, value, rtol=1e-9, atol=0)
        assert_close(its, slopes, rtol=1e-7, atol=1e-12)
        assert_close(loop.plain(loop.state, 0, len(loop.batches)).params, end.params, rtol=1e-9, atol=1e-9)
    assert "goes on without" not in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_compiled_model_explains_what_explodes():
    """Though what is compiled has no second derivative."""
    found = [explained(how) for how in ({}, COMPILED)]
    assert found[0] == found[1]


def test_compilation_that_fails_is_told_once(no_compiler, capsys):
    kept, loop = (problem("vit", **how).loop() for how in ({}, COMPILED))
    assert same(CLOSE(loop), CLOSE(kept))
    assert capsys.readouterr().err.count("inner.compile: no compiler; goes on without") == 1


def test_what_is_compiled(work):
    """The blocks of both towers of a transformer; the whole of what has no blocks of one kind."""
    clip = copy.deepcopy(work.classifier).clip
    blocks = [*clip.visual.transformer.resblocks, *clip.transformer.resblocks]
    assert compiled(clip) == blocks
    assert all(block._compiled_call_impl is not None for block in blocks)
    other = tiny("resnet")
    assert compiled(other) == [other]


@pytest.mark.full
@pytest.mark.timeout(600)
def test_every_size_of_a_batch_is_compiled():
    """Torch gives up after eight of them, in silence, unless told otherwise."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters["frames"]
    part, before = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(2)), counters["ok"]
    for block in compiled(part):
        for size in range(1, 11):
            block(torch.ones(size, 2))
    assert counters["ok"] - before == 10, "one for both blocks"


def test_compiled_steps_that_cannot_serve_are_refused(work):
    asked = [*SMALL, "inner.compile=true", "search.mode=hypergrad"]
    told = "hypergrad.estimator: 'forward' with inner.compile; allowed: differences."
    often = "hypergrad.check_every: 5, with inner.compile; allowed: 0."
    found = faults_of(config.load(None, [*asked, "hypergrad.estimator=forward", "hypergrad.check_every=5"]))
    assert [str(fault) for fault in found] == [told, often]
    cfg = config.load(None, [*asked, "hypergrad.estimator=differences"])
    assert faults_of(cfg) == faults_in(replace(work, cfg=cfg)) == []
    assert isinstance(inner_step(replace(work, cfg=cfg), False), RunningStep)


def test_a_model_that_cannot_or_draws_is_refused(work):
    odd = replace(work, cfg=config.load(None, [*SMALL, "inner.checkpointing=true", "inner.compile=true"]))
    assert faults_in(odd) == []
    bare = replace(odd, clip=replace(work.clip, model=torch.nn.Module()))
    assert [str(fault) for fault in faults_in(bare)] == [
        "inner.checkpointing: true, and the model has no set_grad_checkpointing; allowed: false."
    ]
    drawing = copy.deepcopy(work.classifier)
    drawing.clip.visual.patch_dropout = torch.nn.Dropout(0.5)
    assert [str(fault) for fault in faults_in(replace(odd, classifier=drawing))] == [
        f"inner.{how}: true, and parts of the model draw at random (dropout); allowed: false."
        for how in ("checkpointing", "compile")
    ]
