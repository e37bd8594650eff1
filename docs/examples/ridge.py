"""The derivative of a ridge regression's validation loss by its penalty, against the closed form.

python docs/examples/ridge.py

w(h) = argmin |X w - y|^2 / n + h |w|^2 = (X'X / n + h I)^-1 X'y / n,   value = |X_val w(h) - y_val|^2 / n_val
d value / d h = - 2 / n_val (X_val w - y_val)' X_val (X'X / n + h I)^-1 w
"""

import torch

import metaft

COUNT, WIDTH, STEPS, RATE = 40, 5, 400, 0.2


class Ridge:
    """A step of gradient descent on the penalised loss, which it shows."""

    def loss(self, w, batch, h):
        x, y = batch
        return (x @ w - y).square().mean() + h["penalty"] * w.square().sum()

    def __call__(self, w, batch, h):
        (slope,) = torch.autograd.grad(self.loss(w, batch, h), w, create_graph=True)
        return w - RATE * slope


def closed_form(train, validation, penalty):
    """d value / d h."""
    (x, y), (x_val, y_val) = train, validation
    inverse = torch.linalg.inv(x.T @ x / len(y) + penalty * torch.eye(WIDTH, dtype=torch.float64))
    w = inverse @ x.T @ y / len(y)
    return -2 / len(y_val) * (x_val @ w - y_val) @ x_val @ inverse @ w


def main():
    """The closed form, and what each estimator gives."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(WIDTH, generator=generator, dtype=torch.float64)

    def drawn(count):
        x = torch.randn(count, WIDTH, generator=generator, dtype=torch.float64)
        return x, x @ truth + torch.randn(count, generator=generator, dtype=torch.float64)

    train, validation = drawn(COUNT), drawn(COUNT)
    penalty = torch.tensor(0.1, dtype=torch.float64)
    estimators = {
        "unroll": metaft.Unroll(),
        "truncated to 20": metaft.Truncated(last=20),
        "forward": metaft.Forward(),
        "implicit": metaft.Implicit(),
    }
    found = {"closed form": closed_form(train, validation, penalty).item()}
    for name, estimator in estimators.items():
        _, slopes = metaft.differentiate(
            Ridge(),
            torch.zeros(WIDTH, dtype=torch.float64),
            [train] * STEPS,
            {"penalty": penalty},
            lambda w: (validation[0] @ w - validation[1]).square().mean(),
            estimator,
        )
        found[name] = slopes["penalty"].item()
    for name, slope in found.items():
        print(f"{name:>16}: {slope:.12f}")
    return found


if __name__ == "__main__":
    main()
