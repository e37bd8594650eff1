# %% [markdown]
# # Your own pictures: from class folders to a model that is handed back
#
#     python docs/examples/own_data.py
#
# Pictures lie in SPLIT/CLASS/ folders. To have some, this script writes digits: drawn ones to train on, and handwritten
# ones as another distribution, a few of them labelled for validation. Then it looks at the folders as metaft does,
# searches, compares, and saves the model. It takes two minutes on a CPU; sizes and budgets are small.

# %%
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

import metaft

SIDE, CLASSES = 32, 10


# %% [markdown]
# ## Pictures in folders


# %%
def drawn(digit: int, draw: np.random.Generator) -> Image.Image:
    """A digit in the font that Pillow ships, near the middle, in a light grey on a dark one."""
    picture = Image.new("L", (SIDE, SIDE), int(draw.integers(0, 100)))
    font, middle = ImageFont.load_default(size=int(draw.integers(18, 28))), tuple(draw.integers(13, 20, 2))
    ImageDraw.Draw(picture).text(middle, str(digit), fill=int(draw.integers(150, 256)), font=font, anchor="mm")
    return picture


def write(root: Path, id_train: int, few: int) -> None:
    """Class folders: `id_train` drawn digits to train on, `few` in each other split, of each class."""
    draw, digits = np.random.default_rng(0), load_digits()
    for digit in range(CLASSES):
        handwritten = (digits.images[digits.target == digit] * 255 / 16).astype(np.uint8)
        splits = {
            "id_train": [drawn(digit, draw) for _ in range(id_train)],
            "id_val": [drawn(digit, draw) for _ in range(few)],
            "id_test": [drawn(digit, draw) for _ in range(few)],
            "ood_val": [Image.fromarray(x).resize((SIDE, SIDE)) for x in handwritten[:few]],
            "ood_test/handwritten": [Image.fromarray(x).resize((SIDE, SIDE)) for x in handwritten[few:][:100]],
        }
        for split, pictures in splits.items():
            folder = root / split / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            for number, picture in enumerate(pictures):
                picture.save(folder / f"{number}.png")


# %% [markdown]
# ## Search, compare, save
#
# `settings` are those of a YAML file. Captions are made of class names; `classnames.txt` says what a folder means.


# %%
def main(root: Path = Path("pictures"), id_train: int = 60, few: int = 15) -> metaft.Results:
    """Write pictures, fine-tune on them, and save the model of the learned objective."""
    write(root, id_train, few)
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    (root / "classnames.txt").write_text("".join(f"{digit} = {name}\n" for digit, name in enumerate(names)))
    settings = {
        "data": {"format": "folder", "root": str(root), "classnames": str(root / "classnames.txt")},
        "inner": {"steps": 5},
        "search": {"trials": 8, "seconds": None},
        "finetune": {"epochs": 4},
        "evaluation": {"bootstrap": 200},
    }
    found = metaft.search(settings, mode="hypergrad")
    found.objective.save("objective.yaml")
    methods = ["zero_shot", "ft", "wise_ft", "autoft"]
    results = metaft.compare(settings, methods=methods, objective="objective.yaml")
    print(results.table())
    metaft.finetune(settings, objective=found.objective).save("model")
    return results


if __name__ == "__main__":
    main()
