"""The inner step on a CLIP model: it is torch.optim.AdamW's, repeats exactly, and takes hooks in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import pytest
import torch

from metaft.config.schema import StepConfig, StorageConfig
from metaft.errors import ConfigError
from metaft.hooks.registry import HOOKS
from metaft.inner.forward import Forward
from metaft.inner.step import DifferentiableAdamW, Step, higher
from metaft.inner.unroll import Unroll
from metaft.objective.registry import TERMS, Term
from metaft.training.batches import SourceBatch
from tests.conftest import by_default
from tests.inner.problems import EPS, TOWERS, B, H, hooked, loss_of, parameters_of, problem, tiny

KEEP, REPLAY, SEGMENTS = (Unroll(StorageConfig(storage=name)) for name in ("keep", "replay", "segments"))


@dataclass(frozen=True)
class Filled:
    """A step with values that are not differentiated."""

    step: Step
    rest: dict[str, float]

    def __call__(self, state, batch, h):
        return self.step(state, batch, {**self.rest, **h})

    def plain(self, state, batch, h):
        return self.step.plain(state, batch, {**self.rest, **h})

    def dual(self, state, batch, h):
        return self.step.dual(state, batch, {**self.rest, **h})

    @property
    def precision(self):
        return self.step.precision

    @property
    def precise(self):
        return self

    def parts(self, batch):
        def filled(loss):
            return lambda outputs, h: loss(outputs, {**self.rest, **h})

        return [part._replace(loss=filled(part.loss)) for part in self.step.parts(batch)]

    def moved(self, state, grads, batch, h):
        return self.step.moved(state, grads, batch, {**self.rest, **h})


class TestAdamW:
    """higher's optimizer with our update, beside torch's."""

    def network(self) -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(5, 8), torch.nn.GELU(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3)
        ).double()

    def loss(self, model: torch.nn.Module, t: int) -> torch.Tensor:
        g = torch.Generator().manual_seed(t)
        x, y = torch.randn(16, 5, generator=g, dtype=torch.float64), torch.randint(3, (16,), generator=g)
        return torch.nn.functional.cross_entropy(model(x), y)

    def groups(self, model: torch.nn.Module, grouped: bool, wd: float) -> list[dict]:
        parameters = list(model.parameters())
        if not grouped:
            return [{"params": parameters, "lr": 1e-2, "weight_decay": wd}]
        return [
            {"params": parameters[4:], "lr": 3e-2, "weight_decay": 2 * wd},
            {"params": parameters[:4], "lr": 1e-3, "weight_decay": wd},
        ]

    @pytest.mark.parametrize("eps", [1e-8, 1e-2])
    @pytest.mark.parametrize("wd", [0.0, 0.3])
    @pytest.mark.parametrize("grouped", [False, True], ids=["one group", "two groups"])
    def test_equals_torch_over_twenty_steps(self, eps, wd, grouped):
        model = self.network()
        optimizer = torch.optim.AdamW(self.groups(model, grouped, wd), betas=(0.8, 0.95), eps=eps)
        patched = higher.monkeypatch(model, copy_initial_weights=True, track_higher_grads=True)
        twin = higher.get_diff_optim(optimizer, list(model.parameters()), fmodel=patched)
        assert type(twin) is DifferentiableAdamW
        for t in range(20):
            optimizer.zero_grad()
            self.loss(model, t).backward()
            optimizer.step()
            twin.step(self.loss(patched, t))
            for ours, theirs in zip(patched.parameters(), model.parameters(), strict=True):
                torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=1e-10)

    def test_goes_on_from_a_warm_optimizer(self):
        model = self.network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for t in range(3):
            optimizer.zero_grad()
            self.loss(model, t).backward()
            optimizer.step()
        patched = higher.monkeypatch(model)
        twin = higher.get_diff_optim(optimizer, list(model.parameters()), fmodel=patched)
        optimizer.zero_grad()
        self.loss(model, 9).backward()
        optimizer.step()
        twin.step(self.loss(patched, 9))
        for ours, theirs in zip(patched.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=1e-12)

    def test_a_zero_gradient_gives_no_nan(self):
        weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
        lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        twin = higher.get_diff_optim(optimizer, [weight], override={"lr": [lr]})
        (new,) = twin.step((weight[0] * 3).square(), params=[weight])
        (new,) = twin.step((new[0] * 3).square(), params=[new])
        (gradient,) = torch.autograd.grad(new.sum(), lr)
        assert torch.isfinite(gradient)


def test_the_trajectory_is_the_plain_one():
    """Twenty steps by higher, with every term, against torch.optim.AdamW on the bare classifier."""
    case = problem("vit", by_group=True)
    classifier = tiny("vit")
    trained = parameters_of(classifier)
    pretrained = {k: p.detach().clone() for k, p in trained.items()}
    weighted, numbers = loss_of(classifier), {k: float(v) for k, v in case.h.items()}
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [trained[k] for k in members],
                "lr": numbers.get(f"lr@{group}", numbers["lr"]),
                "weight_decay": numbers.get(f"wd@{group}", numbers["wd"]),
            }
            for group, members in weighted.groups.items()
        ],
        eps=EPS,
    )
    state = case.step.initial()
    for batch in islice(iter(case.batches * 20), 20):
        state = case.step.plain(state, batch, case.h)
        out = classifier(batch.images, batch.tokens)
        optimizer.zero_grad()
        weighted(batch.observe(out, dict(trained), pretrained), numbers).backward()
        optimizer.step()
    for ours, theirs in zip(state.params, trained.values(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=1e-10)


def test_an_accumulated_step_is_that_of_the_mean_loss():
    case = problem("vit", accumulate=2)
    step, classifier, batch = case.step, tiny("vit"), case.batches[0]
    weighted, trained = loss_of(classifier), parameters_of(classifier)
    halves = [part for _, part in batch.parts(2)]
    assert [len(part.labels) for part in halves] == [B // 2, B // 2]
    losses = []
    for part in halves:
        out = classifier(part.images, part.tokens)
        losses.append(weighted(part.observe(out, dict(trained), step.pretrained), case.h))
    grads = torch.autograd.grad(sum(losses) / 2, list(trained.values()))
    state, by_hand = step.plain(step.initial(), batch, case.h), step.taken(step.initial(), grads, batch, case.h)
    for ours, theirs in zip(state.params, by_hand.params, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def agrees_with_differences(case, gradients):
    for name in case.h:
        for gradient in gradients:  # l1init has a kink within 1e-6 of ce
            assert case.error(name, gradient, (1e-5, 1e-6, 1e-7), bound=1e-5) < 1e-5, name


@pytest.mark.full
def test_the_hypergradient_of_accumulated_steps():
    """Parts' graphs are built again; against differences. Forward mode: `test_forward`."""
    case = problem("vit", accumulate=2)
    case = replace(case, batches=case.batches[:2])
    kept, again = (estimator(case.loop())[1] for estimator in (KEEP, REPLAY))
    for name in case.h:
        assert float(again[name]) == pytest.approx(float(kept[name]), rel=1e-9), name
    agrees_with_differences(case, [kept])


@pytest.mark.full
def test_every_hypergradient_of_accumulated_steps():
    case = problem("vit", accumulate=2)
    agrees_with_differences(case, [estimator(case.loop())[1] for estimator in (KEEP, REPLAY, Forward())])


def test_dropout_is_the_same_when_a_step_is_repeated():
    dropping = {"vit": {**TOWERS["vit"], "patch_dropout": 0.5}}
    classifier = tiny("vit", towers=dropping)
    classifier.clip.visual.patch_dropout.train()
    case = problem("vit", classifier=classifier)
    case = replace(case, batches=[batch._replace(seed=7 + t) for t, batch in enumerate(case.batches)])
    (value, gradient), *others = [estimator(case.loop()) for estimator in (KEEP, REPLAY, SEGMENTS)]
    for other, repeated in others:
        assert float(other) == pytest.approx(float(value), rel=1e-12)
        for name in case.h:
            assert float(repeated[name]) == pytest.approx(float(gradient[name]), rel=1e-9), name
    assert case.error("ce", gradient, (1e-5, 1e-6, 1e-7), bound=1e-5) < 1e-5
    still = problem("vit", classifier=tiny("vit", towers=dropping))
    assert float(KEEP(still.loop(batches=case.batches))[0]) != float(value)
    with pytest.raises(ValueError, match=r"batch\.seed: missing"):
        case.step.plain(case.step.initial(), case.batches[0]._replace(seed=None), case.h)


def test_a_model_that_changes_as_it_runs_is_refused():
    classifier = tiny("resnet")
    classifier.clip.visual.bn1.train()
    case = problem("resnet", classifier=classifier)
    inner = [batch._replace(seed=t) for t, batch in enumerate(case.batches)]
    with pytest.raises(ConfigError, match=r"model: clip\.visual\.bn1\.running_mean, .*running_var, .* changes as the"):
        KEEP(case.loop(batches=inner))


def test_a_term_without_a_derivative_is_named(monkeypatch):
    counting = Term("count", "errors", lambda s: (s.logits.argmax(1) != s.labels).double().mean())
    monkeypatch.setitem(TERMS, "count", counting)
    case = problem("vit")
    with pytest.raises(ConfigError, match=r"objective\.terms: 'count' has no derivative"):
        KEEP(case.loop(h={**case.h, "count": case.h["ce"]}))


def test_key_biases_get_no_gradient_from_the_outputs():
    """Their gradient is zero in theory and rounding in practice; here it is zero, so AdamW leaves them alone."""
    case = problem("vit", dtype=torch.float32)
    step = case.step
    h = {name: case.h[name].float() for name in ("ce", "hinge", "lr", "wd")}
    state = step.plain(step.initial(), case.batches[0], {**h, "wd": 0.0})
    checked = 0
    for name, new, old in zip(step.names, state.params, step.initial().params, strict=True):
        if name.endswith("attn.in_proj_bias") and ".visual." in name:
            query, key, value = (new != old).chunk(3)
            assert query.any()
            assert value.any()
            assert not key.any()
            checked += 1
    assert checked == TOWERS["vit"]["layers"]


def test_bfloat16_keeps_float32_states():
    case = problem("vit", dtype=torch.float32, precision="bfloat16")
    step, exact = case.step, problem("vit", dtype=torch.float32).step
    start, batch = step.initial(), case.batches[0]
    rough, fine = (s.forward(start.params, batch.images).logits.detach() for s in (step, exact))
    assert 0 < float((rough - fine).abs().max()) < 0.02 * float(fine.abs().max())
    assert {t.dtype for t in step.plain(start, batch, case.h).tensors} == {torch.float32}
    _, gradient = KEEP(case.loop())
    assert all(bool(g.isfinite()) for g in gradient.values())


def test_a_parameter_without_gradient_stays():
    """The text tower gets no gradient where no term asks for captions: torch leaves it alone, weight decay included."""
    case = problem("vit")
    step, h = case.step, {name: case.h[name] for name in ("ce", "lr", "wd")}
    state = step.plain(step.initial(), case.batches[0]._replace(tokens=None), h)
    moved = {
        name
        for name, new, old in zip(step.names, state.params, step.initial().params, strict=True)
        if (new != old).any()
    }
    assert "head.weight" in moved
    assert "clip.ln_final.weight" not in moved


def test_what_is_not_trained_stays():
    case, classifier = problem("vit"), tiny("vit")
    assert set(case.step.names) == set(dict(classifier.named_parameters()))
    names = [name for name in case.step.names if name.startswith("head.")]
    few = Step(classifier, names, loss_of(classifier), StepConfig())
    assert few.names == ("head.weight", "head.bias")
    state = few.plain(few.initial(), case.batches[0], {name: H[name] for name in ("ce", "lr", "wd")})
    out = few.forward(state.params, case.last.images)
    expected = classifier(case.last.images)
    torch.testing.assert_close(out.image_features, expected.image_features, rtol=1e-12, atol=1e-12)
    assert float((out.logits - expected.logits).detach().abs().max()) > 1e-3


# moderate steps, so that rows end up on and within their balls but none near its kink
KNOBS = {
    "ftp": {"kappa": 0.7, "speed": 0.05},
    "spd": {"strength": 0.8},
    "digrap": {"speed": 0.3},
    "bitfit": {},
    "freeze_embed": {},
    "layer_decay": {"ratio": 0.8},
    "sift": {},
    "surgical": {},
    "diff_pruning": {"penalty": 1.0},
    "r_adapter": {"share": 0.6, "decay": 0.9},
    "mixout": {"probability": 0.4},
    "gmixout": {"probability": 0.4, "decay": 0.8},
    "ema": {"decay": 0.9},
    "lora": {},
}


SLOW = ("diff_pruning", "gmixout", "mixout")


class TestHooks:
    """Hypergradients by the knobs too, against central differences in float64."""

    @pytest.mark.parametrize("method", by_default([name for name in HOOKS if name not in SLOW], HOOKS))
    def test_hypergradients_equal_central_differences(self, method):
        case = hooked(method, KNOBS[method])
        value, gradient = KEEP(case.loop())
        assert float(value) == pytest.approx(case.value_at(case.h), rel=1e-12)
        for name in ("kd", "lr", *(k for k in case.h if "." in k)):
            assert abs(float(gradient[name])) > 1e-9, f"{name} moves nothing"
            assert case.error(name, gradient, (1e-5, 1e-6), bound=1e-4) < 1e-4, name

    @pytest.mark.parametrize("method", by_default(("lora",), HOOKS))
    def test_replay_and_forward_mode_agree(self, method):
        case = hooked(method, KNOBS[method])
        _, kept = KEEP(case.loop())
        few = {k: v for k, v in case.h.items() if k in ("kd", "lr") or "." in k}
        rest = {k: float(v) for k, v in case.h.items() if k not in few}

        def step(state, batch, values):
            return case.step(state, batch, {**rest, **values})

        for estimator in (REPLAY, Forward()):
            _, other = estimator(case.loop(step=step, h=few))
            for name in few:
                torch.testing.assert_close(other[name], kept[name], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_weight_of_a_source_has_its_derivative(accumulate):
    """Images of a further source in every step; its weight's hypergradient beside central differences, float64."""
    made = problem("vit", accumulate=accumulate)
    sources = [{"ood_val": SourceBatch(b.images.flip(0)[:3].neg(), b.labels[:3])} for b in made.batches]
    mixed = replace(
        made,
        batches=[b._replace(sources=more) for b, more in zip(made.batches, sources, strict=True)],
        h={**made.h, "ce:ood_val": torch.tensor(0.7, dtype=torch.float64)},
    )
    _, gradient = KEEP(mixed.loop())
    for name in ("ce:ood_val", "lr", "kd"):
        assert mixed.error(name, gradient, (1e-5, 1e-6, 1e-7), bound=1e-5) < 1e-5, name
    assert mixed.value_at(mixed.h) != made.value_at(made.h)


@pytest.mark.parametrize(
    "estimator", [KEEP, REPLAY, SEGMENTS, Forward()], ids=["keep", "replay", "segments", "forward"]
)
def test_the_share_of_the_way_has_its_derivative(estimator):
    """d value / d alpha beside central differences, float64; and the end is theta_0 + alpha (theta_T - theta_0)."""
    made = problem("vit")
    *firsts, final = made.batches
    alpha = torch.tensor(0.4, dtype=torch.float64)
    h = {"ce": made.h["ce"], "lr": made.h["lr"], "alpha": alpha}
    mixed = replace(made, batches=[*firsts, final._replace(last=True)], h=h)
    loop = replace(mixed.loop(), h=h)
    loop = replace(loop, step=Filled(mixed.step, {"wd": 0.1, "kd": 0.3}))
    _, gradient = estimator(loop)
    rest = {"wd": 0.1, "kd": 0.3}
    ends = {a: replace(mixed, h={**rest, **h, "alpha": torch.tensor(a, dtype=torch.float64)}) for a in (0.0, 0.4, 1.0)}
    states = {}
    for a, case in ends.items():
        state = case.step.initial()
        for batch in case.batches:
            state = case.step.plain(state, batch, case.h)
        states[a] = state
    for mix, begin, end in zip(states[0.4].params, states[0.0].params, states[1.0].params, strict=True):
        torch.testing.assert_close(mix, torch.lerp(begin, end, 0.4))
    whole = replace(mixed, h={**rest, **h})
    for name in h:
        assert whole.error(name, gradient, (1e-5, 1e-6, 1e-7), bound=1e-5) < 1e-5, name


def test_a_step_can_begin_elsewhere():
    made = problem("vit")
    weight = torch.ones_like(made.step.pretrained["head.weight"])
    moved = made.step.begun_at({"head.weight": weight})
    assert torch.equal(moved.pretrained["head.weight"], weight)
    assert not torch.equal(made.step.pretrained["head.weight"], weight)
    place = list(made.step.pretrained).index("head.weight")
    assert torch.equal(moved.initial().params[place], weight)
    batch, h = made.batches[0], {"l2init": 1.0, "lr": 0.1, "wd": 0.0}
    assert moved.loss(moved.initial().params, batch, h) == 0, "penalties pull to where it begins"
    assert made.step.begun_at({}) is made.step


def test_alpha_leaves_every_parameter_its_precision():
    """A parameter without dimensions, such as the scale of the logits, would take on that of a float64 alpha."""
    made = problem("vit", dtype=torch.float32)
    end = made.step.mixed(made.step.initial(), torch.tensor(0.3, dtype=torch.float64))
    assert any(p.ndim == 0 for p in end.params)
    assert {p.dtype for p in end.params} == {torch.float32}
