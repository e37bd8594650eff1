"""Saving classifiers, and opening them again: folders that open_clip opens, and plain checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from metaft.clip.classifier import Classifier, holding
from metaft.clip.load import Clip, load
from metaft.errors import CheckpointError, ConfigError, Fault, first_line
from metaft.files import replacing, write
from metaft.tensors import digest, raw
from metaft.texts import regular

WEIGHTS, LAYER = "open_clip_model.safetensors", "head.safetensors"
OPENED = ("open_clip_config.json", WEIGHTS, LAYER, "classnames.txt")
EXPORTED = (*OPENED, "load.py", "README.md")
SUMS = "SHA256SUMS"
GROUND, ROTATION = "ground", "exif_rotation"  # notes of the head: how files became pixels
DTYPES = {  # by their names in safetensors
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"},
    torch.bool: "BOOL",
}
CHECKSUM = "sha256"  # the note on the tensors and the other notes of a checkpoint
ABOUT = (
    "The classifier is head.safetensors on the features of the image tower. A zero-shot evaluator builds a head of\n"
    "its own from the text tower, another one where the head was trained: use the file, or `logits` of load.py.\n"
)
CARD = f"""# A CLIP model that metaft fine-tuned

    import open_clip
    model, _, preprocess = open_clip.create_model_and_transforms("local-dir:THIS_FOLDER")

or, with its classifier, `from load import model, preprocess, logits, classnames` in this folder.

{ABOUT}"""
LOADER = f'''"""Load this model: `from load import model, preprocess, logits, classnames`.

{ABOUT}"""

from pathlib import Path

import open_clip
from safetensors.torch import load_file

FOLDER = Path(__file__).parent
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{{FOLDER}}")
model.eval()
head = load_file(FOLDER / "head.safetensors")
classnames = (FOLDER / "classnames.txt").read_text(encoding="utf-8").split("\\n")[:-1]


def logits(images):
    """Preprocessed images [B, 3, S, S] to logits [B, C]."""
    return model.encode_image(images, normalize=True) @ head["weight"].T + head["bias"]
'''


def export(
    classifier: Classifier,
    clip: Clip,
    class_names: Sequence[str],
    folder: Path,
    reading: tuple[str, bool] | None = None,
) -> None:
    """Write a model and its configuration, `head.safetensors`, `classnames.txt`, `load.py` and `README.md`.

    `open_clip_model.safetensors` opens with `open_clip.create_model(NAME, pretrained=FILE)`, the folder, which holds
    `open_clip_config.json`, with `local-dir:FOLDER`. The classifier's logits are unit image features times the head, as
    load.py shows; a head built from the text tower gives others where the head was trained, as README.md says.

    `SHA256SUMS` has the checksums of these files, in the form of `sha256sum -c`.

    Args:
        reading: how files became pixels, the ground and whether EXIF rotations were followed; None: it is not known.

    Raises:
        ConfigError: the architecture is unknown, so that open_clip could not open the folder.
    """
    if not clip.config:
        allowed = "the name that open_clip made the model by, such as architecture='ViT-B-32'"
        raise ConfigError([Fault("architecture", "not given with the model", allowed)])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUMS).unlink(missing_ok=True)
    config = {"model_cfg": clip.config, "preprocess_cfg": clip.preprocess}
    write(folder / "open_clip_config.json", json.dumps(config, indent=2, default=list))
    save(classifier.clip.state_dict(), folder / WEIGHTS)
    noted = {} if reading is None else {GROUND: reading[0], ROTATION: json.dumps(reading[1])}
    save(classifier.head.state_dict(), folder / LAYER, noted)
    write(folder / "classnames.txt", "\n".join([*class_names, ""]))
    write(folder / "load.py", LOADER)
    write(folder / "README.md", CARD)
    write(folder / SUMS, "".join(f"{_sum(folder / name)}  {name}\n" for name in EXPORTED))


def exported(folder: Path, device: torch.device | str = "cpu") -> tuple[Clip, Classifier | None, tuple[str, ...]]:
    """The model of a folder that open_clip opens, with the head and the class names that `export` has put beside it.

    Returns:
        The model; its classifier, None where there is no head; class names, none where there is no such file.

    Raises:
        CheckpointError: it is no such folder, its parts do not belong together, or one is not what `export` wrote.
    """
    if not (folder / "open_clip_config.json").is_file():
        raise CheckpointError(f"{folder}: no open_clip_config.json; allowed: a run, or a folder that open_clip opens")
    listed, head = folder / "classnames.txt", folder / LAYER
    if head.is_file() and not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder}: no {WEIGHTS} beside {LAYER}; allowed: both, as metaft wrote them")
    clip = load(f"local-dir:{folder}", None, device)
    try:
        names = tuple(listed.read_text(encoding="utf-8").split("\n")[:-1]) if listed.is_file() else ()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{listed}: {error}; allowed: names in UTF-8, as metaft writes them") from error
    if not head.is_file():
        _refuse_changed(folder)
        return clip, None, names
    try:
        layer = safetensors.torch.load_file(head)
        classifier = Classifier(clip.model, layer["weight"], layer["bias"]).to(device).eval()
        _refuse_unlike(classifier.head, clip.config["embed_dim"])
    except (OSError, SafetensorError, KeyError, IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{head}: {str(error).splitlines()[0]}; allowed: a head that metaft exported") from error
    if len(names) != len(layer["bias"]):
        raise CheckpointError(
            f"{listed}: {len(names)} names; allowed: {len(layer['bias'])}, one for each row of the head"
        )
    _refuse_changed(folder)  # after faults that have names of their own
    return clip, classifier, names


def reading_of(folder: Path) -> tuple[str, bool] | None:
    """How files became pixels for an exported model, as `export` was told; None: it was not."""
    head = folder / LAYER
    noted = notes(head) if head.is_file() else {}
    return (noted[GROUND], noted.get(ROTATION) == "true") if GROUND in noted else None


def _refuse_unlike(head: nn.Linear, width: int) -> None:
    """Refuse a head of features of another width, or one that is not finite.

    Raises:
        ValueError: it is such a head.
    """
    if head.weight.shape[1] != width:
        raise ValueError(f"a head of {head.weight.shape[1]} features, of a model that gives {width}")
    if not all(p.isfinite().all() for p in head.parameters()):
        raise ValueError("a head that is not finite")


def _refuse_changed(folder: Path) -> None:
    """Refuse a folder of `export` of which a file that a model is made of has another checksum."""
    listed = folder / SUMS
    lines = listed.read_text(errors="replace").splitlines() if listed.is_file() else []
    sums = {name: digits for digits, _, name in (line.partition("  ") for line in lines)}
    for name in OPENED:
        if name in sums and (folder / name).is_file() and _sum(folder / name) != sums[name]:
            raise CheckpointError(f"{folder / name}: its checksum is not that in {SUMS}; allowed: as metaft wrote it")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(tensors: dict[str, Tensor], path: Path, notes: dict[str, str] | None = None) -> None:
    """Write tensors by name, with notes and a checksum as metadata; a reader sees a complete file or none.

    Tensors are written in the form of safetensors, one after the other, so that none is in memory twice.
    """
    ordered = dict(sorted(tensors.items(), key=lambda named: (-named[1].element_size(), named[0])))
    header: dict[str, Any] = {"__metadata__": {**(notes or {}), CHECKSUM: _checksum(tensors, notes or {})}}
    end = 0
    for name, t in ordered.items():
        begin, end = end, end + t.numel() * t.element_size()
        header[name] = {"dtype": DTYPES[t.dtype], "shape": list(t.shape), "data_offsets": [begin, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with replacing(path) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for t in ordered.values():
            file.write(raw(t))


def _checksum(tensors: dict[str, Tensor], notes: dict[str, str]) -> str:
    return hashlib.sha256(f"{digest(tensors)} {sorted(notes.items())}".encode()).hexdigest()


def notes(path: Path) -> dict[str, str]:
    """The notes that `save` wrote into a file, by name."""
    with safetensors.safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def moved(classifier: Classifier, theta_0: Classifier) -> dict[str, Tensor]:
    """The parameters of a classifier that are not those of another of its architecture, by name."""
    begun = dict(theta_0.named_parameters())
    return {name: p.detach() for name, p in classifier.named_parameters() if not torch.equal(p, begun[name])}


def restored(theta_0: Classifier, path: Path) -> Classifier:
    """The classifier whose `moved` parameters `save` wrote; it shares all others with theta_0.

    Raises:
        CheckpointError: the file is missing, unreadable, of another architecture, or not what was written.
    """
    begun = dict(theta_0.named_parameters())
    try:
        tensors = safetensors.torch.load_file(regular(path), str(next(iter(begun.values())).device))
        written = notes(path)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {first_line(error)}; allowed: a checkpoint of this run's classifier") from error
    if written.pop(CHECKSUM, None) != _checksum(tensors, written):
        raise CheckpointError(f"{path}: its checksum is not that of its contents; allowed: as metaft wrote it")
    for name, t in tensors.items():
        if name not in begun or (t.shape, t.dtype) != (begun[name].shape, begun[name].dtype):
            found = f"{name} [{', '.join(map(str, t.shape))}] of {t.dtype}"
            raise CheckpointError(f"{path}: {found}; allowed: parameters of this run's classifier")
    return holding(theta_0, tensors)
