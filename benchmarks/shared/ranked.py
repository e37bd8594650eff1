"""Plain fine-tuning by several ranks on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from shared.training import ours, workspace

Job = tuple[str, str, int, int]  # model, precision, images of a batch of all ranks together, steps


def step_on_ranks(count: int, job: Job) -> float:
    """The median seconds of a step that some ranks take together, one thread each, on the CPU."""
    with TemporaryDirectory() as folder:
        spawn(_rank, (count, job, folder), nprocs=count)
        return float(json.loads((Path(folder) / "seconds.json").read_text()))


def _rank(number: int, count: int, job: Job, folder: str) -> None:
    model, precision, batch, steps = job
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=count)
    work = workspace(model, "cpu", f"finetune.precision={precision}")
    taken = ours(work, work.splits.id_train, batch, steps)
    if number == 0:
        (Path(folder) / "seconds.json").write_text(json.dumps(median(taken)))
    dist.barrier()
    dist.destroy_process_group()
