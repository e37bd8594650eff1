"""Train an embedded CLIP from nothing, on drawn images with captions.

    python benchmarks/pretrain.py [--model toy-clip|mid-clip|narrow-clip|wide-clip] [--seed 0] [--steps 2000]
                                  [--device cpu] [--quick] [--out FILE]

Images are drawn from every style of `metaft.data.drawing.styles`: 60 % shapes, 40 % digits. A caption names the class
and, each with probability one half, the colour and the style. Training is CLIP's symmetric contrastive loss (Radford et
al., ICML 2021), stopped while there is still something to learn. The script prints zero-shot accuracy per style on
images it has not seen and writes float16 weights, by default to where `model.pretrained=seed-N` looks for them.
--quick: two steps, few images.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from shared.sizes import PRETRAINED
from torch import Tensor

from metaft.clip.embedded import checkpoint
from metaft.clip.export import save
from metaft.clip.load import RANDOM, Clip, load
from metaft.clip.names import TOY
from metaft.data.digits import NAMES as DIGITS
from metaft.data.digits import REAL_VALIDATION
from metaft.data.digits import TEMPLATES as OF_DIGITS
from metaft.data.drawing import digits, shapes
from metaft.data.drawing.paint import style_rows
from metaft.data.drawing.pool import COUNT, SEED, pool
from metaft.data.drawing.styles import COLOURS, STYLES
from metaft.data.shapes import TEMPLATES as OF_SHAPES

BATCH = 256
STEPS = 2000
QUICK = 16  # images of a batch, of a style, and of handwriting
PER_STYLE = 480
LEARNING_RATE = 2e-3
SHAPES, COLOUR_NAMES, STYLE_NAMES = list(shapes.GLYPHS), list(COLOURS), list(STYLES)


def draw_pool(seed: int, rows: list[int], size: int) -> tuple[Tensor, list[str]]:
    """uint8 images [N, 3, size, size] of these numbers, ascending, and a caption each."""
    drawn, captions = pool(seed, COUNT), []
    for i in rows:
        is_shape, shown = i < drawn.shapes, drawn.shown[i]
        colour = f"{COLOUR_NAMES[drawn.colours[i]]} " if shown[0] else ""
        name = SHAPES[drawn.kinds[i]] if is_shape else DIGITS[drawn.kinds[i]]
        thing = f"a {colour}{name}" if is_shape else f"the {colour}digit {name}"
        medium = STYLE_NAMES[drawn.styles[i]] if shown[1] else ("picture" if shown[2] else "drawing")
        captions.append(f"a {medium} of {thing}." if shown[1] or shown[3] else f"{thing}.")
    return drawn.pixels(rows, size), captions


def train(clip: Clip, seed: int, steps: int, batch: int, device: str) -> None:
    """AdamW with a warm-up and a cosine, no augmentation."""
    generator = torch.Generator().manual_seed(seed)
    needed, batches = torch.randint(COUNT, (steps, batch), generator=generator).unique(return_inverse=True)
    images, captions = draw_pool(seed + SEED, needed.tolist(), clip.view.size)
    tokens = clip.tokenizer(captions)
    loss_of = open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(clip.model.parameters(), lr=LEARNING_RATE, weight_decay=0.1, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    clip.model.train()
    start = time.perf_counter()
    for step, rows in enumerate(batches):
        out = clip.model(clip.view.normalise(images[rows].to(device)), tokens[rows].to(device))
        loss = loss_of(out["image_features"], out["text_features"], out["logit_scale"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            clip.model.logit_scale.clamp_(0, np.log(50))
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item():.3f}  {time.perf_counter() - start:6.1f} s", flush=True)
    clip.model.eval()


@torch.no_grad()
def accuracy(clip: Clip, images: Tensor, labels: Tensor, head: Tensor) -> float:
    """That of a classifier of features, [D, C]."""
    features = clip.model.encode_image(clip.view.normalise(images.to(head.device)), normalize=True)
    return float(((features @ head).argmax(1).cpu() == labels).float().mean())


def report(clip: Clip, n: int, real: int, device: str) -> None:
    """Zero-shot accuracy per style, and on the validation part of the real handwritten digits."""
    size, index = clip.view.size, np.arange(n)
    head_of = partial(open_clip.build_zero_shot_classifier, clip.model, clip.tokenizer, device=device)
    of_shapes, of_digits = head_of(SHAPES, list(OF_SHAPES)), head_of(list(DIGITS), list(OF_DIGITS))
    for style in STYLE_NAMES:
        colours, rows = index * 7 % len(COLOURS), style_rows([style]).expand(n, -1)
        a = shapes.render(index % len(SHAPES), rows, colours, 1_000_001, index, size=size)
        b = digits.render(index % 10, index % 5, rows, colours, 1_000_001, index, size=size)
        on_shapes = accuracy(clip, a, torch.arange(n) % len(SHAPES), of_shapes)
        on_digits = accuracy(clip, b, torch.arange(n) % 10, of_digits)
        print(f"  {style:12s} shapes {on_shapes:6.1%}   digits {on_digits:6.1%}")
    pixels, labels = digits.handwritten()
    if size != digits.SIZE:
        pixels = torch.nn.functional.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True)
    written = accuracy(clip, pixels[:real], labels[:real], of_digits)
    print(f"  handwritten (validation part) {written:6.1%}")


def make(name: str, seed: int, steps: int, device: str, quick: bool, out: Path) -> None:
    """Pretrain a model and write it; on a CPU in one thread, so that a processor makes the same again."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    if device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    clip = load(name, RANDOM, device)
    steps, batch, *counts = (2, QUICK, QUICK, QUICK) if quick else (steps, BATCH, PER_STYLE, REAL_VALIDATION)
    train(clip, seed, steps, batch, device)
    report(clip, *counts, device)
    save({name: tensor.half().cpu() for name, tensor in clip.model.state_dict().items()}, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=PRETRAINED, default=TOY)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    make(args.model, args.seed, args.steps, args.device, args.quick, args.out or checkpoint(args.model, args.seed))


if __name__ == "__main__":
    main()
