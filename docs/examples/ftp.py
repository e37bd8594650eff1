"""FTPAdamW in a training loop of your own; its anchor is what the parameters hold at their first step."""

import torch

from metaft import FTPAdamW

model = torch.nn.Linear(8, 3)  # yours, with its pretrained weights
optimizer = FTPAdamW(model.named_parameters(), lr=1e-5, exclude=["bias"])
model(torch.randn(4, 8)).square().sum().backward()
optimizer.step()
