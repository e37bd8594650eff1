"""FTPAdamW against torch.optim.AdamW with the hook around it, its state, and its place in others' loops."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metaft.errors import CheckpointError, ConfigError
from metaft.hooks.ftp import FTP
from metaft.optim import FTPAdamW

OPTIONS = {"lr": 3e-3, "weight_decay": 0.05}
KNOBS = {"kappa": 0.5, "speed": 0.2}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 16), nn.Linear(16, 3))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(step)
    return torch.randn(8, 2, 6, 6, generator=g), torch.randint(3, (8,), generator=g)


def run(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        images, labels = batch(step)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def saved(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_is_adamw_with_the_hook_around_it():
    ours, theirs = network(), network()
    run(ours, FTPAdamW(ours.parameters(), **OPTIONS, **KNOBS), 0, 20)
    hook, optimizer = FTP(), torch.optim.AdamW(theirs.parameters(), **OPTIONS)
    values = list(theirs.parameters())
    anchors = [p.detach().clone() for p in values]
    state = hook.initial(anchors)
    for step in range(20):
        images, labels = batch(step)
        optimizer.zero_grad()
        F.cross_entropy(theirs(images), labels).backward()
        with torch.no_grad():
            _, state = hook.before([p.grad for p in values], values, anchors, state, KNOBS)
            optimizer.step()
            moved, state = hook.after(values, anchors, state, KNOBS)
            for p, value in zip(values, moved, strict=True):
                p.copy_(value)
    for p, value in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, value, rtol=1e-5, atol=1e-7)
    plain = network()
    run(plain, torch.optim.AdamW(plain.parameters(), **OPTIONS), 0, 20)
    assert (
        max(float((p - q).detach().abs().max()) for p, q in zip(ours.parameters(), plain.parameters(), strict=True))
        > 1e-3
    )


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": False}, {"amsgrad": True}], ids=str)
def test_resume_is_bit_for_bit(options):
    whole, part = network(), network()
    run(whole, FTPAdamW(whole.parameters(), **OPTIONS, **options), 0, 20)
    first = FTPAdamW(part.parameters(), **OPTIONS, **options)
    run(part, first, 0, 10)
    again = network()
    again.load_state_dict(saved(part.state_dict()))
    second = FTPAdamW(again.parameters(), **OPTIONS, **options)
    second.load_state_dict(saved(first.state_dict()))
    run(again, second, 10, 20)
    assert same(again, whole)


def test_state_beside_adamws_is_one_copy_and_a_number_a_row():
    model = network()
    optimizer = FTPAdamW(model.parameters())
    run(model, optimizer, 0, 2)
    own = sum(
        v.numel() for s in optimizer.state.values() for k, v in s.items() if k not in ("step", "exp_avg", "exp_avg_sq")
    )
    count, tensors = sum(p.numel() for p in model.parameters()), len(list(model.parameters()))
    rows = sum(1 if p.ndim < 2 else len(p) for p in model.parameters())
    assert own == count + 4 * tensors + rows


def test_excluded_parameters_take_plain_steps():
    ours, plain = network(), network()
    for module in (ours, plain):
        for p in module[:-1].parameters():
            p.requires_grad_(False)
    run(ours, FTPAdamW(ours.named_parameters(), exclude=["4.*"], **OPTIONS), 0, 5)
    run(plain, torch.optim.AdamW(plain.parameters(), fused=True, **OPTIONS), 0, 5)
    assert same(ours, plain)


def test_bad_arguments():
    model = network()
    with pytest.raises(
        ConfigError, match=r"exclude: 'head.\*' matches no parameter; allowed: patterns of names like 0.w"
    ):
        FTPAdamW(model.named_parameters(), exclude=["4.*", "head.*"])
    with pytest.raises(ConfigError, match=r"exclude: patterns, but parameters without names"):
        FTPAdamW(model.parameters(), exclude=["4.*"])
    with pytest.raises(ConfigError, match=r"FTPAdamW.kappa: 1.5; allowed: 0.0 to 1.0"):
        FTPAdamW(model.parameters(), kappa=1.5)
    with pytest.raises(ConfigError, match=r"FTPAdamW.speed: 0.0; allowed: 0.001 to 1.0"):
        FTPAdamW([{"params": model.parameters(), "speed": 0.0}])


def test_a_state_of_another_optimizer_is_refused():
    model = network()
    plain = torch.optim.AdamW(model.parameters())
    run(model, plain, 0, 2)
    with pytest.raises(CheckpointError, match=r"state_dict: no anchor of parameters 0, 1, .*; allowed: a state of FTP"):
        FTPAdamW(model.parameters()).load_state_dict(plain.state_dict())
    some = FTPAdamW(model.named_parameters(), exclude=["4.*"])
    run(model, some, 0, 2)
    FTPAdamW(model.named_parameters(), exclude=["4.*"]).load_state_dict(some.state_dict())
    with pytest.raises(CheckpointError, match="no anchor of parameters 6, 7;"):
        FTPAdamW(model.named_parameters()).load_state_dict(some.state_dict())


def test_closures_and_copies_and_late_groups():
    whole, other = network(), network()
    run(whole, FTPAdamW(whole.parameters(), **OPTIONS), 0, 6)
    optimizer = FTPAdamW(other[:-1].parameters(), **OPTIONS)
    optimizer.add_param_group({"params": list(other[-1].parameters())})

    def closure_of(model, optimizer, step):
        def closure():
            images, labels = batch(step)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            return loss

        return closure

    for step in range(3):
        assert optimizer.step(closure_of(other, optimizer, step)) > 0
    (other, optimizer) = copy.deepcopy((other, optimizer))
    for step in range(3, 6):
        optimizer.step(closure=closure_of(other, optimizer, step))
    assert same(whole, other)


def test_the_fused_kernel_is_taken_unless_another_is_asked_for():
    model = network()
    named, groups = model.named_parameters(), [{"params": list(model[0].parameters())}, {"params": model[2].weight}]
    for params in (model.parameters(), named, groups):
        assert FTPAdamW(params).defaults["fused"] is True
    assert FTPAdamW(model.parameters(), foreach=True).defaults["fused"] is None
    lazily = [{"params": model.parameters()}]  # an iterator can be looked at only once
    assert FTPAdamW(lazily).defaults["fused"] is None


def test_maximize_is_minimising_the_negative():
    up, down = network(), network()
    optimizers = FTPAdamW(up.parameters(), maximize=True, **OPTIONS), FTPAdamW(down.parameters(), **OPTIONS)
    for step in range(6):
        images, labels = batch(step)
        for model, optimizer, sign in zip((up, down), optimizers, (-1, 1), strict=True):
            optimizer.zero_grad()
            (sign * F.cross_entropy(model(images), labels)).backward()
            optimizer.step()
    assert same(up, down)


def test_schedulers_and_others_hooks_run_once():
    model = network()
    optimizer = FTPAdamW(model.parameters())
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    for step in range(4):
        run(model, optimizer, step, step + 1)
        schedule.step()
    assert len(calls) == 4
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_data_types_may_differ():
    """Each data type has radii of its own."""
    model = network()
    alone = network()
    model[-1].double()
    optimizer = FTPAdamW(model.parameters(), **OPTIONS)
    reference = FTPAdamW(alone[:-1].parameters(), **OPTIONS)
    for step in range(3):
        for p, q in zip(model.parameters(), alone.parameters(), strict=True):
            q.grad = torch.randn(q.shape, generator=torch.Generator().manual_seed(step))
            p.grad = q.grad.to(p.dtype)
        optimizer.step()
        reference.step()
    assert same(model[:-1], alone[:-1])
    assert all(p.dtype == torch.float64 for p in model[-1].parameters())
