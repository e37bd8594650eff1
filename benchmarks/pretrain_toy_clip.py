"""Train the toy CLIP that ships in the package, from nothing, on drawn images with captions.

    python benchmarks/pretrain_toy_clip.py [--seed 0] [--steps 1300] [--out FILE] [--device cpu]

Images are drawn from every style of `metaft.data.styles`: 60 % shapes, 40 % digits. A caption names the class and,
each with probability one half, the colour and the style. Training is CLIP's symmetric contrastive loss (Radford et
al., 2021), stopped early so that fine-tuning has something to gain. The script prints zero-shot accuracy per style
on images it has not seen and writes float16 weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor

from metaft.clip.export import save
from metaft.clip.load import RANDOM, TOY, TOY_CHECKPOINT, Clip, load
from metaft.data import digits, shapes
from metaft.data.styles import COLOURS, STYLES

POOL = 40_000
BATCH = 256
SHAPES, COLOUR_NAMES, STYLE_NAMES = list(shapes.GLYPHS), list(COLOURS), list(STYLES)


def draw_pool(seed: int, size: int) -> tuple[Tensor, list[str]]:
    """uint8 images [size, 3, 32, 32] and a caption each."""
    rng = np.random.default_rng([seed, 1])
    n_shapes = int(0.6 * size)
    styles = rng.integers(len(STYLES), size=size)
    colours = rng.integers(len(COLOURS), size=size)
    kinds = np.concatenate([rng.integers(len(SHAPES), size=n_shapes), rng.integers(10, size=size - n_shapes)])
    index = np.arange(size)
    head, tail = slice(0, n_shapes), slice(n_shapes, size)
    hands = rng.integers(len(digits.HANDS), size=size - n_shapes)
    images = torch.cat(
        [
            shapes.render(kinds[head], styles[head], colours[head], seed, index[head]),
            digits.render(kinds[tail], hands, styles[tail], colours[tail], seed, index[tail]),
        ]
    )
    shown = rng.random((size, 3)) < 0.5
    captions = []
    for i in range(size):
        colour = f"{COLOUR_NAMES[colours[i]]} " if shown[i, 0] else ""
        thing = f"a {colour}{SHAPES[kinds[i]]}" if i < n_shapes else f"the {colour}digit {digits.NAMES[kinds[i]]}"
        medium = STYLE_NAMES[styles[i]] if shown[i, 1] else ("picture" if shown[i, 2] else "drawing")
        captions.append(f"a {medium} of {thing}." if shown[i, 1] or rng.random() < 0.5 else f"{thing}.")
    return images, captions


def train(clip: Clip, seed: int, steps: int, device: str) -> None:
    """AdamW with a warm-up and a cosine, batch 256, no augmentation."""
    images, captions = draw_pool(seed + 7_000, POOL)
    tokens = clip.tokenizer(captions)
    loss_of = open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(clip.model.parameters(), lr=2e-3, weight_decay=0.1, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    clip.model.train()
    start = time.perf_counter()
    for step in range(steps):
        rows = torch.randint(POOL, (BATCH,), generator=generator)
        out = clip.model(clip.view.normalise(images[rows].to(device)), tokens[rows].to(device))
        loss = loss_of(out["image_features"], out["text_features"], out["logit_scale"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            clip.model.logit_scale.clamp_(0, np.log(50))
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item():.3f}  {time.perf_counter() - start:6.1f} s", flush=True)
    clip.model.eval()


@torch.no_grad()
def zero_shot(clip: Clip, images: Tensor, labels: Tensor, names: list[str], templates: list[str], device: str) -> float:
    """Accuracy of open_clip's zero-shot classifier."""
    head = open_clip.build_zero_shot_classifier(clip.model, clip.tokenizer, names, templates, device=device)
    features = clip.model.encode_image(clip.view.normalise(images.to(device)), normalize=True)
    return float(((features @ head).argmax(1).cpu() == labels).float().mean())


def report(clip: Clip, device: str) -> None:
    """Zero-shot accuracy per style, and on the validation part of the real handwritten digits."""
    n = 480
    index = np.arange(n)
    for s, style in enumerate(STYLE_NAMES):
        colours, rows = index * 7 % len(COLOURS), np.full(n, s)
        a = shapes.render(index % len(SHAPES), rows, colours, 1_000_001, index)
        b = digits.render(index % 10, index % 5, rows, colours, 1_000_001, index)
        on_shapes = zero_shot(clip, a, torch.arange(n) % len(SHAPES), SHAPES, list(shapes.TEMPLATES), device)
        on_digits = zero_shot(clip, b, torch.arange(n) % 10, list(digits.NAMES), list(digits.TEMPLATES), device)
        print(f"  {style:12s} shapes {on_shapes:6.1%}   digits {on_digits:6.1%}")
    pixels, labels = digits.handwritten()
    real = zero_shot(clip, pixels[:400], labels[:400], list(digits.NAMES), list(digits.TEMPLATES), device)
    print(f"  handwritten (validation part) {real:6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--out", type=Path, default=TOY_CHECKPOINT)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    clip = load(TOY, RANDOM, args.device)
    train(clip, args.seed, args.steps, args.device)
    report(clip, args.device)
    save({name: tensor.half() for name, tensor in clip.model.state_dict().items()}, args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
