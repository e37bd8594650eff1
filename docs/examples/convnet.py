"""Weights of a loss, and the learning rate, of a small convolutional network on scikit-learn's digits.

    python docs/examples/convnet.py

The network is any torch.nn.Module: `torch.func.functional_call` runs it on explicit parameters. The inner loop takes
momentum steps on cross-entropy, a penalty and the entropy of the predictions, each with its weight; hypergradients of
the validation loss by these weights and by the learning rate are compared with central differences in float64.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.func import functional_call

import metaft

STEPS, BATCH = 8, 32


def network():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6 * 16, 10)
    ).double()


def step_of(net):
    """One step of gradient descent with momentum 0.9, as a function of parameters and velocities."""

    def step(state, batch, h):
        params, velocities = state
        images, labels = batch
        logits = functional_call(net, params, (images,))
        log_p = logits.log_softmax(dim=1)
        loss = (
            h["ce"] * F.nll_loss(log_p, labels)
            + h["l2"] * sum(p.square().sum() for p in params.values())
            + h["entropy"] * -(log_p.exp() * log_p).sum(dim=1).mean()
        )
        slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        velocities = {name: 0.9 * velocities[name] + slope for name, slope in zip(params, slopes, strict=True)}
        return {name: p - h["lr"] * velocities[name] for name, p in params.items()}, velocities

    return step


def main():
    """By name: the hypergradient, and the central difference."""
    torch.manual_seed(0)
    digits = load_digits()
    images, labels = torch.from_numpy(digits.images)[:, None] / 16, torch.from_numpy(digits.target)
    batches = [(images[i : i + BATCH], labels[i : i + BATCH]) for i in range(0, STEPS * BATCH, BATCH)]
    validation = images[-300:], labels[-300:]
    net = network()
    params = {name: p.detach() for name, p in net.named_parameters()}
    start = params, {name: torch.zeros_like(p) for name, p in params.items()}
    h = {"ce": 1.0, "l2": 1e-3, "entropy": 0.1, "lr": 0.1}
    h = {name: torch.tensor(value, dtype=torch.float64) for name, value in h.items()}

    def outer(state):
        return F.cross_entropy(functional_call(net, state[0], (validation[0],)), validation[1])

    def value_at(name, change):
        moved = {**h, name: h[name] + change}
        return metaft.differentiate(step_of(net), start, batches, moved, outer)[0]

    _, slopes = metaft.differentiate(step_of(net), start, batches, h, outer)
    pairs = {name: (slopes[name].item(), ((value_at(name, 1e-5) - value_at(name, -1e-5)) / 2e-5).item()) for name in h}
    for name, (ours, difference) in pairs.items():
        print(f"{name:>8}: hypergradient {ours:+.8f}, central difference {difference:+.8f}")
    return pairs


if __name__ == "__main__":
    main()
