"""The TPE sampler alone, on a space with a condition; a trial that diverges is told as failed."""

from metaft import TPE, Categorical, Float, Int, Space
from metaft.search.tpe import Failed

space = Space(
    [
        Float("lr", 1e-5, 1.0, log=True),
        Int("depth", 1, 12),
        Categorical("optimizer", ("sgd", "adamw")),
        Float("momentum", 0.0, 0.99, when=("optimizer", ("sgd",))),
    ]
)
sampler = TPE(space, seed=0)
sampler.enqueue({"lr": 1e-3, "depth": 4, "optimizer": "adamw"})
for _ in range(50):
    trial = sampler.ask()
    loss = (trial.params["lr"] - 0.01) ** 2 + trial.params.get("momentum", 1.0)
    sampler.tell(trial.number, loss if loss < 1.5 else Failed("diverged"))
