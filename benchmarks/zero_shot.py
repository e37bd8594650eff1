"""Whether CLIP_benchmark measures of an exported model what metaft measures of it.

    python benchmarks/zero_shot.py [--device cpu] [--quick] [--out FILE]

Rows are models: the toy CLIP, and a ViT-B/32 with random weights. The handwritten digits of scikit-learn, as PNG files
of 64 pixels in class folders, are opened by metaft's `folder` and by torchvision's ImageFolder; metaft's zero-shot
model is exported, opened again by open_clip from its file, and evaluated by CLIP_benchmark, which builds a head of its
own from the text tower. `ours` and `theirs` are accuracy and the mean over classes, the latter by scikit-learn on the
logits of CLIP_benchmark, whose own accuracy fails with NumPy 2.4; `logits` is the largest difference between the two.
Needs `pip install -e ".[bench]"`. --quick: the toy alone, fewer pictures.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import open_clip
import torch
from clip_benchmark.metrics import zeroshot_classification as theirs
from PIL import Image
from shared.rows import Row, Rows, arguments
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from metaft import config, pipeline
from metaft.clip.export import export
from metaft.clip.predict import predict
from metaft.metrics import METRICS

MODELS = {"toy-clip": (), "ViT-B-32": ("model.pretrained=random",)}
SPLITS = ("id_train", "id_val", "ood_val", "id_test", "ood_test/other")
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(root: Path, count: int) -> None:
    """So many digits in each split, each in one alone."""
    data = load_digits()
    for number, (image, label) in enumerate(zip(data.images[: count * len(SPLITS)], data.target, strict=False)):
        folder = root / SPLITS[number // count] / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((image * 15).astype("uint8")).resize((64, 64), Image.Resampling.BICUBIC)
        picture.convert("RGB").save(folder / f"{number}.png")


def measured(model: str, count: int, device: str) -> Row:
    """Both evaluations of a model's zero-shot head."""
    with tempfile.TemporaryDirectory() as name:
        root, folder = Path(name) / "pictures", Path(name) / "model"
        digits(root, count)
        words = ["data.format=folder", f"data.root={root}", f"model.name={model}", f"device={device}", *MODELS[model]]
        work = pipeline.opened(config.load(None, words))
        classes, test = work.splits.classes, work.splits.tests["id_test"]
        logits = predict(work.classifier, test, 64, device)
        export(work.classifier, work.clip, classes.names, folder)
        exported, _, preprocess = open_clip.create_model_and_transforms(
            model, pretrained=str(folder / "open_clip_model.safetensors"), device=device
        )
        loader = DataLoader(ImageFolder(root / "id_test", preprocess), batch_size=64)
        tokenizer = open_clip.get_tokenizer(model)
        templates = [template.replace("{}", "{c}") for template in classes.templates]
        head = theirs.zero_shot_classifier(exported.eval(), tokenizer, classes.names, templates, device, amp=False)
        scores, labels = theirs.run_classification(exported, head, loader, device, amp=False)
    ours = {name: METRICS[name](logits, test.labels) for name in ("accuracy", "mean_per_class")}
    return {
        "model": model,
        "images": len(test),
        "ours": {name: round(value, 6) for name, value in ours.items()},
        "theirs": {
            "accuracy": round(accuracy_score(labels, scores.argmax(1)), 6),
            "mean_per_class": round(balanced_accuracy_score(labels, scores.argmax(1)), 6),
        },
        "logits": float(f"{(exported.logit_scale.exp() * scores / 100 - logits).abs().max():.2g}"),  # theirs times 100
    }


def main() -> None:
    args = arguments("zero_shot", __doc__, seeds=(0,))
    torch.set_num_threads(1)
    rows = Rows("zero_shot", args, ("model",), more=("clip-benchmark",))
    for model in ["toy-clip"] if args.quick else MODELS:
        if {"model": model} not in rows:
            rows.add(measured(model, 60 if args.quick else 300, args.device))


if __name__ == "__main__":
    main()
