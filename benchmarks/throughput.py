"""How fast images go through training, and how fast many files are opened.

    python benchmarks/throughput.py [--device cpu] [--repeats 5] [--quick] [--out FILE]

Rows of three kinds (`what`):

- `loop`: plain fine-tuning as `ft` runs it, one check by id_val at its end included, against a bare loop of PyTorch on
  the same model, images and optimizer that judges once too; `ratio` is its images a second over the bare loop's, the
  median of repeats in which the two take turns.
- `loading`: the same fine-tune on JPEGs of 500 x 375 as they are kept: `memory`, `disk` (decoded once, in a mapped
  file) and `files` (kept nowhere, decoded ahead by processes); `images_per_second` of the loader alone, and `lost`, the
  share of the speed with all images in memory that is lost to loading.
- `opening`: small files opened, each decoded once, by a process of its own: `seconds` of wall clock beyond those of the
  same process with 100 files, and the peak memory of both, `peak_gib` and `least_gib`.

--quick: few steps and files, one repeat.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from shared.clock import seconds
from shared.rows import Row, Rows, arguments
from shared.training import bare, in_turns, ours, workspace

from metaft.data.ahead import processes
from metaft.data.decode import Reading
from metaft.data.decoded import in_memory, on_disk, when_asked
from metaft.data.types import Split

LOOPS = (("toy-clip", 64, 60), ("toy-clip", 256, 20), ("ViT-B-32", 16, 4))  # model, batch, steps
JPEG = (500, 375)
FILES = 130_000


def loop(model: str, batch: int, steps: int, repeats: int, device: str) -> Row:
    """Our loop against the bare one."""
    work = workspace(model, device)
    runs = {f.__name__: partial(f, work, work.splits.id_train, batch, steps) for f in (ours, bare)}
    taken = in_turns(runs, repeats, device)
    ratio = median(theirs / own for own, theirs in zip(taken["ours"], taken["bare"], strict=True))
    speed = batch * steps / median(taken["ours"])
    return {"what": "loop", "model": model, "batch": batch, "ratio": round(ratio, 3), "images_per_second": round(speed)}


def jpegs(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Noise that is smooth, as photographs are, in files of a size."""
    rng, files = np.random.default_rng(0), [folder / f"{number}.jpg" for number in range(count)]
    for file in files:
        coarse = Image.fromarray(rng.integers(256, size=(24, 32, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(file, quality=90)
    return files


def loading(model: str, batch: int, steps: int, repeats: int, device: str, count: int) -> list[Row]:
    """The fine-tune on JPEGs by where they are kept, and the loader alone."""
    work, rows = workspace(model, device), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, reading = jpegs(folder, count, JPEG), Reading(work.splits.id_train.view, "white", False)
        kept = {"memory": in_memory, "disk": partial(on_disk, folder), "files": partial(when_asked, folder)}
        splits = {}
        for where, keep in kept.items():
            _, source = keep(files, reading)
            labels = torch.arange(count) % len(work.splits.classes.names)
            readers = processes(None) if where == "files" else 0
            splits[where] = Split("id_train", source(range(count)), labels, reading.view, readers=readers)
        taken = in_turns({w: partial(ours, work, s, batch, steps) for w, s in splits.items()}, repeats, device)
        for where, split in splits.items():
            alone = min(seconds(lambda split=split: _all(split, batch), "cpu") for _ in range(repeats))
            shares = [1 - memory / own for memory, own in zip(taken["memory"], taken[where], strict=True)]
            speed = {"images_per_second": round(count / alone), "lost": round(median(shares), 3)}
            rows.append({"what": "loading", "model": model, "batch": batch, "kept": where, **speed})
    return rows


def _all(split: Split, batch: int) -> None:
    for indices in torch.randperm(len(split)).split(batch):
        split.batch(indices)


OPEN = """
import sys
from metaft import config, pipeline
work = pipeline.opened(config.load(None, ["data.format=folder", f"data.root={sys.argv[1]}", "device=cpu"]))
print(sum(map(len, (work.splits.id_train, work.splits.id_val, work.splits.ood_val, *work.splits.tests.values()))))
"""


def opening(count: int) -> Row:
    """Small files in class folders, opened by a process of its own."""
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as many:
        (before, least), (taken, peak) = (_opened(Path(root), size) for root, size in ((few, 100), (many, count)))
    memory = {"peak_gib": round(peak, 2), "least_gib": round(least, 2)}
    return {"what": "opening", "files": count, "seconds": round(taken - before, 1), **memory}


def _opened(root: Path, count: int) -> tuple[float, float]:
    """Seconds and peak memory in GiB of a process that opens so many files, a tenth of them in splits that judge."""
    small = max(10, count // 40)
    for number, split in enumerate(("id_val", "ood_val", "id_test", "ood_test/other")):
        _small(root / split, small, number)
    _small(root / "id_train", count - 4 * small, 4)
    return _process(OPEN, str(root))


def _small(folder: Path, count: int, seed: int) -> None:
    """PNGs of 32 pixels, each another, in ten classes."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        place = folder / f"class {number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype=np.uint8))
        coarse.resize((32, 32)).save(place / f"{number}.png", compress_level=1)


def _process(code: str, root: str) -> tuple[float, float]:
    """Seconds of wall clock and peak memory in GiB of a Python process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, root], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the process that opens {root} ended with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


def main() -> None:
    args = arguments("throughput", __doc__, seeds=(0,), repeats=5)
    rows = Rows("throughput", args, ("what", "model", "batch", "kept", "files"))
    repeats, loops = (1, (("toy-clip", 16, 2),)) if args.quick else (args.repeats, LOOPS)
    for model, batch, steps in loops:
        if {"what": "loop", "model": model, "batch": batch} not in rows:
            rows.add(loop(model, batch, steps, repeats, args.device))
    for model, batch, steps in loops[-1:]:
        if {"what": "loading", "model": model, "batch": batch, "kept": "files"} not in rows:
            for row in loading(model, batch, steps, repeats, args.device, 40 if args.quick else 1000):
                rows.add(row)
    files = 500 if args.quick else FILES
    if {"what": "opening", "files": files} not in rows:
        rows.add(opening(files))


if __name__ == "__main__":
    main()
