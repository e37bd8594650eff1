"""Shards: a fine-tune whose tensors ranks hold in parts comes to what it comes to where each holds all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from metaft import config, ranks, shards
from metaft.build.fits import fit_settings
from metaft.build.opened import faults_in
from metaft.build.workspace import workspace
from metaft.checkpoints import Checkpoints
from metaft.clip.blockwise import BLOCK
from metaft.config.schema import AdamWConfig, FinetuneConfig
from metaft.errors import ConfigError
from metaft.finetune.context import FitContext, FitSettings
from metaft.finetune.loop import train
from metaft.finetune.methods import METHODS
from metaft.finetune.scaling import Scale
from metaft.finetune.trainee import Trainee
from metaft.hooks.registry import HOOKS, hook_for
from metaft.inner.diagnosis import OPTIMIZER, culprit_term, explanation
from metaft.inner.loop import Footprint, Trace
from metaft.inner.registry import ESTIMATORS
from metaft.inner.sharded import ShardedStep
from metaft.inner.step import Step
from metaft.inner.storage import footprint_of
from metaft.inner.unroll import Unroll
from metaft.objective import Objective
from metaft.shards import Shards, joined
from metaft.training.batches import SourceBatch
from tests.conftest import SMALL
from tests.inner.problems import T, batches, hooked, names_of, problem, tiny
from tests.test_ranks import WAYS as RANKED
from tests.test_ranks import close, hypergradients, on_ranks, same

TERMS = {"ce": 1.0, "flyp": 0.4, "kd": 0.5, "l1init": 0.05, "l1zero": 0.05, "l2init": 0.1, "l2zero": 0.02}
EVERY = Objective(TERMS, 1e-3, 0.1, groups={"block.0.attn": {"terms": {"l2init": 0.3}, "lr": 3e-3}})
WAYS: dict[str, tuple[Objective, dict[str, Any]]] = {
    "whole batches": (replace(EVERY, sources={"more": 0.7}), {}),
    "parts of a batch, some smaller than the ranks": (EVERY, {"accumulate": 4}),
    "blocks computed again": (EVERY, {"checkpointing": True, "clip": 0.1}),
    "an average": (replace(EVERY, method="ema", knobs={"decay": 0.5}), {}),
    "rates by layer": (replace(EVERY, terms={"ce": 1.0, "l2init": 0.1}, method="layer_decay"), {}),
    "some parameters": (Objective({"ce": 1.0}, 1e-3, 0.1, method="bitfit"), {"clip": 0.1}),
}
Tensors = dict[str, Tensor]


def begun(objective: Objective, **how: Any) -> Trainee:
    settings = FitSettings(objective, finetune=FinetuneConfig(shard=True, **how), optimizer=AdamWConfig(eps=1e-4))
    return Trainee.begin(tiny("vit"), objective, settings, None)


def stepped(objective: Objective, **how: Any) -> dict[str, Tensors]:
    """The gradient of a step; after three, the model, the variables and the moments, whole."""
    trainee, (first, *others) = begun(objective, **how), batches(tiny("vit"))
    if objective.sources:
        first = first._replace(sources={"more": SourceBatch(others[0].images[:5], others[0].labels[:5])})
    if not objective.needs_text:
        first = first._replace(tokens=None)
    trainee._descended(first)
    grads = {name: v.grad for name, v in trainee.variables.items() if v.grad is not None}
    found = {"gradients": trainee.layout.whole(grads)}
    for _ in range(3):
        trainee.advance(first, objective, 1.0)
    state = trainee.inner_state()
    named = {"params": state.params, "moments": (*state.exp_avg, *state.exp_avg_sq), "extra": state.extra}
    found |= {key: {str(i): t for i, t in enumerate(tensors)} for key, tensors in named.items()}
    return {**found, "model": {name: p.detach() for name, p in trainee.current().named_parameters()}}


def alike(ours: dict[str, Tensors], theirs: dict[str, Tensors], tolerance: float = 1e-12) -> None:
    for key, tensors in theirs.items():
        assert ours[key].keys() == tensors.keys(), key
        length = sum(float(t.square().sum()) for t in tensors.values()) ** 0.5
        for name, t in tensors.items():
            assert float((ours[key][name] - t).norm()) <= tolerance * length, (key, name)


def operators() -> list[Tensor]:
    """p and q from shards, the gradient of a cubic of them of which each rank has a part, and its derivative."""
    layout = Shards({"p": torch.Size((2, 3)), "q": torch.Size(())})
    whole = {"p": torch.arange(1.0, 7.0).view(2, 3).double(), "q": torch.tensor(2.0).double()}
    held = [t.requires_grad_() for t in layout.held(whole).values()]
    p, q = joined(held, [*layout.shapes.values()])
    first = torch.autograd.grad(q * (p**3).sum() / ranks.count(), held, create_graph=True)
    second = torch.autograd.grad([g.sum() for g in first], held)
    return [t for ts in (held, first, second) for t in layout.whole(dict(zip("pq", ts, strict=True))).values()]


class Alive:
    """The most bytes of joined tensors that are there at once."""

    def __init__(self) -> None:
        self._assembled, self._there, self.most = shards._assembled, list[tuple[StorageWeakRef, int]](), 0

    def __call__(self, *args: Any) -> list[Tensor]:
        made = self._assembled(*args)
        storage = made[0].untyped_storage()
        self._there = [(ref, size) for ref, size in self._there if not ref.expired()]
        self._there.append((StorageWeakRef(storage), storage.nbytes()))
        self.most = max(self.most, sum(size for _, size in self._there))
        return made


@contextmanager
def joining() -> Iterator[Alive]:
    """A context in which what is joined is watched."""
    shards._assembled = alive = Alive()
    try:
        yield alive
    finally:
        shards._assembled = alive._assembled


def memory(**how: Any) -> tuple[int, int]:
    """Bytes that a rank holds between a gradient and its step, and the most that is joined at once."""
    with joining() as alive:
        trainee, (batch, *_) = begun(EVERY, **how), batches(tiny("vit"))
        trainee.advance(batch, EVERY, 1.0)
        trainee._descended(batch)
    moments = [x for kept in trainee.optimizer.state.values() for x in kept.values() if x.dim()]
    held = [*trainee.variables.values(), *trainee.pretrained.values(), *trainee.anchors, *moments]
    held += [v.grad for v in trainee.variables.values() if v.grad is not None]
    storages = {t.untyped_storage().data_ptr(): t.numel() * t.element_size() for t in held}
    return sum(storages.values()), alive.most


def sizes(count: int) -> tuple[int, int]:
    """Bytes of what is in no block, and of the largest block, filled up to equal shards and to 64 numbers."""
    found = dict[str, int]()
    for name, p in tiny("vit").named_parameters():
        block = BLOCK.match(name)
        place = block[1] if block else ""
        filled = count * -(-p.numel() // count)
        found[place] = found.get(place, 0) + 8 * 64 * -(-filled // 64)
    return found.pop(""), max(found.values())


def rounded(shard: bool) -> Tensors:
    """The gradient in bfloat16, by ranks that hold whole tensors or shards."""
    how = FinetuneConfig(shard=shard, precision="bfloat16")
    model = tiny("vit", torch.float32).in_precision("bfloat16")
    trainee = Trainee.begin(model, EVERY, FitSettings(EVERY, finetune=how), None)
    trainee._descended(batches(model)[0])
    return trainee.layout.whole({name: v.grad for name, v in trainee.variables.items() if v.grad is not None})


def overflown() -> tuple[bool, float]:
    """Whether variables move where one rank's gradients are not finite, and the factor of the loss afterwards."""
    trainee = begun(EVERY)
    trainee.scale = Scale(2.0, moves=True)
    before = [v.detach().clone() for v in trainee.variables.values()]
    trainee._descended(batches(tiny("vit"))[0])
    grad = next(iter(trainee.variables.values())).grad
    assert grad is not None
    grad[:] = torch.inf if ranks.number() == 1 else 1.0
    trainee._update(1.0)
    pairs = zip(before, trainee.variables.values(), strict=True)
    return not all(torch.equal(p, v) for p, v in pairs), trainee.scale.factor


def of_a_rank() -> tuple[Any, ...]:
    with pytest.raises(ConfigError) as error:
        begun(replace(EVERY, method="spd"))
    alike({"bfloat16": rounded(True)}, {"bfloat16": rounded(False)}, 1e-6)
    assert overflown() == (False, 1.0)
    found = {name: stepped(objective, **how) for name, (objective, how) in WAYS.items()}
    return found, operators(), memory(), memory(checkpointing=True), str(error.value)


def of_one() -> dict[str, dict[str, Tensors]]:
    return {name: stepped(objective, **how) for name, (objective, how) in WAYS.items()}


@pytest.mark.full
@pytest.mark.parametrize("count", [2, 3, 4])
def test_shards_are_whole_tensors(count, tmp_path):
    """In float64: gradients, updates, penalties of every power, hooks; what is held is a part of what one holds."""
    alone = of_one()
    shares = sum(-(-p.numel() // count) for p in tiny("vit").parameters())
    outside, block = sizes(count)
    for found, cubic, (held, most), (_, again), said in on_ranks(count, of_a_rank, tmp_path):
        for name in WAYS:
            alike(found[name], alone[name])
        p, q, d_p, d_q, dd_p, dd_q = cubic
        torch.testing.assert_close(d_p, 6 * p**2, rtol=1e-14, atol=0)
        torch.testing.assert_close(dd_p, 12 * p + 3 * p**2, rtol=1e-14, atol=0)
        assert [float(x) for x in (q, d_q, dd_q)] == [2.0, 441.0, 273.0]
        assert held == 5 * 8 * shares, "weights, theta_0's, gradients and two moments, in float64"
        assert max(most, again) <= outside + block
        assert "finetune.shard: true, and a method (SPD) needs whole tensors" in said


def test_what_needs_whole_tensors_is_refused(work, monkeypatch):
    """Before anything is computed; by a process alone it is not, as that holds whole tensors."""
    asked = "evaluation.methods=[ft, ema, bitfit, layer_decay, spd, lora, saft, tpgm]"
    odd = replace(work, cfg=config.load(None, [*SMALL, "finetune.shard=true", "finetune.compile=true", asked]))
    learned = Objective({"ce": 1.0}, 1e-3, 0.1, method="ftp")
    assert faults_in(odd, learned) == []
    for module in (ranks, shards):
        monkeypatch.setattr(module, "count", lambda: 2)
    told = "finetune.shard: true, and {!r} needs whole tensors in its steps; allowed: false, or other methods."
    assert [str(fault) for fault in faults_in(odd, learned)] == [
        "finetune.compile: true, with finetune.shard on several ranks; allowed: one of them.",
        *(told.format(name) for name in ("spd", "lora", "saft", "ftp")),
    ]
    asked = ["search.mode=hypergrad", "inner.shard=true", "search.method=spd", "hypergrad.estimator=forward"]
    asked += ["hypergrad.regime=online", "hypergrad.check_every=2", "inner.compile=true"]
    assert [fault.field for fault in faults_in(replace(work, cfg=config.load(None, [*SMALL, *asked])))] == [
        *("inner.compile", "inner.shard", "hypergrad.estimator", "hypergrad.regime", "hypergrad.check_every"),
    ]


def test_hooks_that_are_entrywise():
    """Those whose variables are parameters, which treat numbers alike wherever they are in a tensor."""
    names = names_of(tiny("vit"))
    found = {name for name in HOOKS if hook_for(name, names, FinetuneConfig())[0].entrywise}
    assert found == {"ema", "bitfit", "freeze_embed", "layer_decay"}
    settings = FitSettings(EVERY)
    assert {name for name, method in METHODS.items() if method.whole(settings)} == {"prompt", "saft", "carot"}


SWEPT = [name for name, (estimator, _) in RANKED.items() if not ESTIMATORS[estimator].whole]
HOOKED = {"ema": {"decay": 0.9}, "layer_decay": {"ratio": 0.75}}


def swept(kind: type[Step], settings: dict[str, Any]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    """Hypergradients in every way that needs no whole states, of hooks' knobs, and from another head."""
    found = hypergradients({"kind": kind, **settings}, SWEPT)
    for method, knobs in HOOKED.items():
        found[method] = Unroll()(hooked(method, knobs, kind).loop())
    case = problem("vit", kind=kind, **settings)
    head = {f"head.{name}": 0.5 + p.detach() for name, p in tiny("vit").head.named_parameters()}
    begun = replace(case, step=case.step.begun_at(head))
    return {**found, "begun": Unroll()(begun.loop()), "not begun": Unroll()(case.loop())}


def swept_on_shards(settings: dict[str, Any]) -> tuple[Any, ...]:
    """The same on shards, the most bytes that are joined at once by way, and the bytes of parts of loops."""
    most = {}
    for way in ("keep", "replay", "differences"):
        with joining() as alive:
            hypergradients({"kind": ShardedStep}, [way])
        most[way] = alive.most
    footprints = (footprint_of(problem("vit", kind=kind).loop(), graphs=False) for kind in KINDS)
    return swept(ShardedStep, settings), most, *footprints


KINDS = (Step, ShardedStep)


@pytest.mark.full
@pytest.mark.parametrize(("count", "settings"), [(2, {}), (3, {}), (4, {}), (2, {"accumulate": 2})])
def test_a_hypergradient_through_shards_is_that_of_one_process(count, settings, tmp_path):
    """In float64; states, adjoints and what waits between sweeps are shards, and blocks are not kept by graphs."""
    alone, (outside, block) = swept(Step, settings), sizes(count)
    for found, most, whole, parts in on_ranks(count, swept_on_shards, tmp_path, settings):
        same(found, alone)
        assert parts.state * count == pytest.approx(whole.state, rel=0.01)
        assert parts.part == whole.part > 0
        assert most["differences"] <= outside + block
        assert max(most["keep"], most["replay"]) <= outside + 2 * block


def again_on_shards() -> tuple[dict[str, Any], Footprint]:
    """A hypergradient through blocks that are computed again, and the bytes of parts of its loop."""
    how = {"kind": ShardedStep, "checkpointing": True}
    return hypergradients(how, ["differences"]), footprint_of(problem("vit", **how).loop(), graphs=False)


@pytest.mark.full
def test_blocks_that_are_joined_again_are_computed_again(tmp_path):
    alone, kept = hypergradients({}, ["differences"]), footprint_of(problem("vit").loop(), graphs=False)
    for found, again in on_ranks(2, again_on_shards, tmp_path):
        same(found, alone)
        assert again.part < 0.2 * kept.part


HEAVY = {"flyp": 1e6, "l2init": 1e6}


def explained(kind: type[Step]) -> list[str]:
    """What is said of hypergradients by terms of great weight, of an inner loop that diverges, and of AdamW."""
    case = problem("vit", kind=kind)
    points = [{**case.h, name: torch.tensor(x).double()} for name, x in HEAVY.items()]
    diverging = {**case.h, "lr": torch.tensor(math.inf).double()}
    said = [explanation(Unroll(), case.loop(h=h), case.step, h, 1e9) for h in (*points, diverging)]
    links = []
    Unroll()(case.loop(), Trace(link=lambda *link: links.append(link)))
    _, state, batch, adjoint = links[0]
    return [*said, culprit_term(case.step, state, batch, case.h, adjoint.map(lambda t: t * math.nan))]


@pytest.mark.full
def test_where_a_hypergradient_explodes_is_found_on_shards(tmp_path):
    alone = explained(Step)
    assert [words.rpartition("term ")[2] for words in alone[:2]] == list(HEAVY)
    assert alone[2:] == [f"the inner loop diverged at step 1 of {T}", OPTIMIZER]
    assert on_ranks(2, explained, tmp_path, ShardedStep) == [alone, alone]


STEPS = 20
LEARNED = Objective({"ce": 1.0, "kd": 0.5, "l2init": 0.1}, 1e-4, 0.1, method="ema", knobs={"decay": 0.9})


class Stopped(Checkpoints):
    """Files of a training that stops after its first check, if it is to."""

    stop = False

    def save(self, name: str, state: dict[str, Any]) -> None:
        super().save(name, state)
        if self.stop and state.get("step") == STEPS // 2:
            ranks.meet()
            raise KeyboardInterrupt


def tuned(folder: Path | None, objective: Objective = LEARNED, stop: bool = False) -> Tensors:
    """The weights after a fine-tune of the toy CLIP in float32, kept in a folder; none of one that is stopped."""
    cfg = config.load(None, [*SMALL, "finetune.batch_size=30", "data.options.id_train=90", "finetune.shard=true"])
    work = workspace(cfg)
    context = FitContext(replace(fit_settings(work), steps=STEPS, checks=2))
    if folder is not None:
        keeper = Stopped(folder, work.classifier)
        keeper.stop = stop
        context = replace(context, keeper=keeper)
    try:
        return dict(train(work.classifier, objective, work.splits.search_data, context, "tuned").state_dict())
    except KeyboardInterrupt:
        return {}


def several(folder: Path) -> tuple[Tensors, ...]:
    """Of ranks: a training alone, one that goes on from a whole state, and a state that is left."""
    found = tuned(None), tuned(folder / "whole")
    tuned(folder / "parts", stop=True)
    return found


@pytest.mark.full
def test_a_state_is_that_of_any_number_of_ranks(tmp_path):
    """A fine-tune that begins on one process goes on in shards on two, and the other way round."""
    alone = tuned(None)
    tuned(tmp_path / "whole", stop=True)
    for through, gone_on in on_ranks(2, several, tmp_path, tmp_path):
        close(through, alone)
        close(gone_on, alone)
    close(tuned(tmp_path / "parts"), alone)
