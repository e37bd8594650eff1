"""A weight for every training example of an MLP, learned so that it does well on a few clean ones.

    python docs/examples/noisy_labels.py

A third of the 120 training labels are wrong. The inner loop trains on all of them, each with its weight; the outer loss
is that of 40 examples with right labels. Hypergradients lower the weights of the wrong ones.
"""

import torch
import torch.nn.functional as F

import metaft

SIZES, RATE, STEPS = (2, 16, 2), 0.5, 25


def points(count, generator):
    """Two half-moons [count, 2] and which one each point belongs to [count]."""
    label = torch.arange(count) % 2
    angle = torch.pi * torch.rand(count, generator=generator)
    x = torch.stack([angle.cos() + label - 0.5, angle.sin() * (1 - 2 * label) + 0.25 * (2 * label - 1)], dim=1)
    return x + 0.1 * torch.randn(x.shape, generator=generator), label


def logits(mlp, x):
    return torch.tanh(x @ mlp["w1"] + mlp["b1"]) @ mlp["w2"] + mlp["b2"]


def step(mlp, batch, h):
    """Gradient descent on the weighted loss."""
    x, label = batch
    losses = F.cross_entropy(logits(mlp, x), label, reduction="none")
    loss = (torch.sigmoid(h["weights"]) * losses).mean()
    slopes = torch.autograd.grad(loss, list(mlp.values()), create_graph=True)
    return {name: p - RATE * slope for (name, p), slope in zip(mlp.items(), slopes, strict=True)}


def main():
    """The mean weight of right and of wrong examples after 15 outer steps."""
    generator = torch.Generator().manual_seed(0)
    x, right = points(120, generator)
    wrong = torch.rand(120, generator=generator) < 1 / 3
    batch, clean = (x, torch.where(wrong, 1 - right, right)), points(40, generator)
    mlp = {
        "w1": torch.randn(SIZES[:2], generator=generator),
        "b1": torch.zeros(SIZES[1]),
        "w2": 0.3 * torch.randn(SIZES[1:], generator=generator),
        "b2": torch.zeros(SIZES[2]),
    }
    weights = torch.zeros(120, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.3)
    for _ in range(15):
        value, slopes = metaft.differentiate(
            step,
            mlp,
            [batch] * STEPS,
            {"weights": weights},
            lambda end: F.cross_entropy(logits(end, clean[0]), clean[1]),
        )
        weights.grad = slopes["weights"]
        optimizer.step()
        print(f"outer loss {value:.3f}")
    final = torch.sigmoid(weights.detach())
    print(f"mean weight of right labels {final[~wrong].mean():.2f}, of wrong ones {final[wrong].mean():.2f}")
    return final[~wrong].mean().item(), final[wrong].mean().item()


if __name__ == "__main__":
    main()
