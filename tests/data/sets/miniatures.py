"""Miniature copies of how sets lie on disk, as they are given away and unpacked."""

from __future__ import annotations

import pickle
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from metaft.data.sets.caltech101 import FACTS as CALTECH
from metaft.data.sets.cifar10 import CORRUPTIONS, NAMES
from metaft.data.sets.imagenet import FACTS
from metaft.data.table import read_table

RNG = np.random.default_rng(0)


def pictures(count: int, side: int = 32):
    return RNG.integers(255, size=(count, side, side, 3)).astype(np.uint8)


def batches(root: Path) -> None:
    """Python's version: rows of 3,072 bytes, a colour after the other, in pickles with texts as Python 2 wrote them."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        rows = pictures(20).transpose(0, 3, 1, 2).reshape(20, -1)
        content = {"data": rows, "labels": [(i + number) % 10 for i in range(20)], "filenames": ["a.png"] * 20}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(NAMES)}, protocol=2))


def cifar10_1(root: Path) -> None:
    (root / "CIFAR-10.1").mkdir()
    np.save(root / "CIFAR-10.1" / "cifar10.1_v6_data.npy", pictures(12))
    np.save(root / "CIFAR-10.1" / "cifar10.1_v6_labels.npy", np.arange(12, dtype=np.int32) % 10)


def cifar10_2(root: Path, kind: str = "npy") -> None:
    """A dict in a .npy file, or a .npz file; AutoFT's code reads the training file for the test."""
    (root / "CIFAR-10.2").mkdir(exist_ok=True)
    for part, shift in (("train", 0), ("test", 3)):
        content = {"images": pictures(10), "labels": (np.arange(10) + shift) % 10}
        path = root / "CIFAR-10.2" / f"cifar102_{part}.{kind}"
        np.savez(path, **content) if kind == "npz" else np.save(path, content, allow_pickle=True)


def cifar10_c(root: Path, corruptions=("fog", "brightness")) -> None:
    """Each file holds five severities of the same ten pictures, one block after the other."""
    folder = root / "CIFAR-10-C"
    folder.mkdir()
    for corruption in corruptions:
        array = np.zeros((50, 32, 32, 3), np.uint8)
        array[:, 0, 0, 0] = np.arange(50)
        array[:, 1, 1, 1] = CORRUPTIONS.index(corruption)
        np.save(folder / f"{corruption}.npy", array)
    np.save(folder / "labels.npy", np.tile(np.arange(10)[::-1], 5).astype(np.uint8))


def stl10(root: Path) -> None:
    """Labels from 1 in STL-10's own order; pictures colour by colour, column by column."""
    folder = root / "stl10_binary"
    folder.mkdir()
    for part in ("train", "test"):
        pictures(20, 96).transpose(0, 3, 2, 1).tofile(folder / f"{part}_X.bin")
        (np.arange(20, dtype=np.uint8) % 10 + 1).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n")


def cinic10(root: Path) -> None:
    """Pictures of CIFAR-10 and of ImageNet side by side, told apart by their names."""
    for label, name in enumerate(NAMES):
        folder = root / "CINIC-10" / "test" / name
        folder.mkdir(parents=True)
        for file in (f"n0210{label}_7.png", f"cifar10-train-{label}.png"):
            Image.fromarray(pictures(1)[0]).save(folder / file)


def cifar10(root: Path) -> Path:
    for make in (batches, cifar10_1, cifar10_2, cifar10_c, stl10, cinic10):
        make(root)
    return root


def picture(path: Path, seed: int = 0, side: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(255, size=(side, side, 3)).astype(np.uint8)).save(path)


def imagenet(root: Path) -> Path:
    """A picture of each class, a second of the first 40; two corruptions; few classes in the other parts."""
    classes = [line.cells for line in read_table(FACTS, ("wnid", "subsets"))]
    wnids = [row["wnid"] for row in classes]
    for label, wnid in enumerate(wnids):
        for number in range(2 if label < 40 else 1):
            picture(root / "imagenet" / "train" / wnid / f"{wnid}_{number}.JPEG", label, 8)
    for label in (0, 5, 7, 998):
        picture(root / "imagenet" / "val_in_folder" / wnids[label] / f"ILSVRC2012_val_{label:08d}.JPEG", label)
        picture(root / "sketch" / wnids[label] / f"sketch_{label}.JPEG", label)
        for corruption in ("fog", "snow"):
            for severity in (1, 5):
                place = root / "ImageNet-C" / corruption / str(severity) / wnids[label]
                picture(place / f"ILSVRC2012_val_{label:08d}.JPEG", label * severity)
    for label in (0, 2, 10, 999):
        picture(root / "ImageNetV2-matched-frequency" / str(label) / "a.jpeg", label)
    for subset in "ar":
        for row in classes:
            if subset in row["subsets"].split():
                picture(root / f"imagenet-{subset}" / row["wnid"] / "0.jpg", 1, 8)
        (root / f"imagenet-{subset}" / "README.txt").write_text("of which classes")
    framed = np.full((20, 16, 3), (255, 0, 0), np.uint8)
    framed[2:-2, 2:-2] = 128
    for folder in ("air_freshener", "alarm_clock", "bicycle"):
        place = root / "objectnet-1.0" / "images" / folder / "0a1.png"
        place.parent.mkdir(parents=True)
        Image.fromarray(framed).save(place)
    return root


DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
OF_DOMAINNET = ("aircraft_carrier", "alarm_clock", "The_Eiffel_Tower", "zebra")


def domainnet(root: Path) -> Path:
    """Lists with labels by class folder, and a picture that no list has."""
    for domain in DOMAINS:
        for part, count in (("train", 4), ("test", 2)):
            lines = []
            for label, folder in enumerate(OF_DOMAINNET):
                for i in range(count):
                    image = f"{domain}/{folder}/{domain}_{part}_{label}_{i}.png"
                    picture(root / "domainnet" / image, hash_of(image))
                    lines.append(f"{image} {label}\n")
            (root / "domainnet" / f"{domain}_{part}.txt").write_text("".join(lines))
        picture(root / "domainnet" / domain / "zebra" / "duplicate.png")
    return root


def hash_of(text: str) -> int:
    return zlib.crc32(text.encode())


def sst2(root: Path) -> Path:
    for split in ("train", "valid", "test"):
        for name in ("negative", "positive"):
            for i in range(6):
                path = root / "rendered-sst2" / split / name / f"{i:04d}.png"
                picture(path, hash_of(str(path.relative_to(root))))
    return root


def patchcamelyon(root: Path) -> Path:
    """The layout in folders."""
    for split in ("train", "val", "test"):
        for name in ("0", "1"):
            for i in range(6):
                path = root / "patchcamelyon" / split / name / f"{i}.png"
                picture(path, hash_of(str(path.relative_to(root))))
    return root


def flowers102(root: Path) -> Path:
    """Labels and image numbers from 1, in MATLAB's files; splits mixed over the numbers."""
    folder = root / "flowers-102"
    numbers = np.arange(1, 8 * 102 + 1)
    for number in numbers:
        picture(folder / "jpg" / f"image_{number:05d}.jpg", int(number), 8)
    savemat(folder / "imagelabels.mat", {"labels": ((numbers - 1) // 8 * 5 % 102 + 1).reshape(1, -1)})
    parts = {"trnid": numbers[::4], "valid": numbers[1::4], "tstid": numbers[2::2]}
    savemat(folder / "setid.mat", {key: part.reshape(1, -1) for key, part in parts.items()})
    return root


def cars(root: Path) -> Path:
    """Class numbers from 1, in an order that is not that of the names; file names without their folder."""
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = np.array(["Acura RL Sedan 2012", "Acura Integra Type R 2001", "Ram C/V Cargo Van Minivan 2012"], object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names.reshape(1, -1)})
    for part, place in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        kind = [("bbox_x1", object), ("class", object), ("fname", object)]
        rows = [(1, (i * 2) % 3 + 1, f"{i + 1:05d}.jpg") for i in range(60 if part == "train" else 9)]
        savemat(folder / place, {"annotations": np.array(rows, kind).reshape(1, -1)})
        for _, _, file in rows:
            picture(folder / f"cars_{part}" / file, hash_of(part + file), 8)
    return root


def caltech101(root: Path) -> Path:
    """More than thirty pictures of some classes; the backgrounds' folder."""
    place = root / "caltech101" / "101_ObjectCategories"
    for label, line in enumerate(read_table(CALTECH, ("folder",))):
        for i in range(1, 33 if label < 2 else 12):
            picture(place / line.cells["folder"] / f"image_{i:04d}.jpg", label * 100 + i, 8)
    picture(place / "BACKGROUND_Google" / "image_0001.jpg", 9, 8)
    return root


MAKERS = {
    "cifar10": cifar10,
    "imagenet": imagenet,
    "domainnet": domainnet,
    "sst2": sst2,
    "patchcamelyon": patchcamelyon,
    "flowers102": flowers102,
    "cars": cars,
    "caltech101": caltech101,
}
