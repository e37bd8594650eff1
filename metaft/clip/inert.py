"""Reading pickles without running what they name: tensors and plain containers, and inert objects for all else.

A pickle is a program that may call any function it can import. Here it can reach torch's functions that rebuild tensors
and nothing more; every other class or function that it names becomes a class without behaviour, whose objects keep the
state and the items that the pickle gives them. So tensors in objects of unknown classes can be read.

The module stands in for `pickle` in `torch.load(pickle_module=...)`, which uses its `Unpickler` and `load`.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

TORCH_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")  # begins what torch.save wrote before torch 1.6
HOLDERS = (Tensor, Mapping, list, tuple)  # what may be tensors, or hold some


class Inert(dict[Any, Any]):
    """An object of a class that was not imported: its items as a dict's, its attributes in `state`.

    What it was made of is there, too, by number or name, where that may hold tensors.
    """

    origin = ""  # the class that the pickle names, as `module.Class`
    state: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """One without items, whatever the arguments: those are for the class that it stands for."""
        made = super().__new__(cls)
        given = {**{str(number): value for number, value in enumerate(args)}, **kwargs}
        made.state = {name: value for name, value in given.items() if isinstance(value, HOLDERS)}
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)  # (attributes, slots)
        for part in parts:
            if isinstance(part, dict):
                self.state.update(part)

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        """What a function would have made."""
        return Inert()

    def append(self, item: Any) -> None:
        """Take what a pickle adds to a list or a set."""
        self[len(self)] = item

    add = append

    def __hash__(self) -> int:  # type: ignore[override]
        """By identity, as a pickle may use it as a key."""
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Unpickler(pickle.Unpickler):
    """An unpickler to which nothing is importable but what tensors and plain containers are made of."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for `module.name`: a safe equivalent, a dtype, or a class without behaviour."""
        if (module, name) in SAFE:
            return SAFE[module, name]()
        value = vars(torch).get(name) if module == "torch" else None
        if isinstance(value, torch.dtype):
            return value
        return type("Inert", (Inert,), {"origin": f"{module}.{name}"})


def load(file: BinaryIO, **options: Any) -> Any:
    """`pickle.load` with this unpickler."""
    return Unpickler(file, **options).load()


def load_archive(path: Path) -> Any:
    """The object in a file of torch.save, of whatever version.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    with path.open("rb") as file:
        return _load_archive(file)


def load_plain(path: Path) -> Any:
    """The object in a file of pickle.dump.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    with path.open("rb") as file:
        return load(file)


def load_torchscript(path: Path) -> Any:
    """The tree of modules in a TorchScript archive, without compiling its code.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        (object_file,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        return _ScriptUnpickler(archive, object_file).load()


class _ScriptUnpickler(Unpickler):
    """Reads the modules of a TorchScript archive, whose storages lie beside them, a file for each."""

    def __init__(self, archive: zipfile.ZipFile, object_file: str) -> None:
        super().__init__(io.BytesIO(archive.read(object_file)))
        self.archive = archive
        self.storages = object_file.removesuffix("data.pkl") + "data/"
        self.read: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: storage.as_strided(size, stride, offset)
        if module == "torch" and name.endswith("Storage"):
            return getattr(torch, name).dtype
        return super().find_class(module, name)

    def persistent_load(self, saved: Any) -> Tensor:
        """The storage `("storage", dtype, key, device, count)` as a flat tensor."""
        _, dtype, key, *_ = saved
        if key not in self.read:
            content = bytearray(self.archive.read(self.storages + key))
            self.read[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self.read[key]


def _load_archive(file: BinaryIO) -> Any:
    return torch.load(file, map_location="cpu", weights_only=False, pickle_module=sys.modules[__name__])


def _storage_from_bytes(content: bytes) -> Any:
    """The storage that pickle.dump wrote as bytes of torch.save."""
    if not content.startswith(TORCH_MAGIC):
        raise pickle.UnpicklingError("a storage in an unknown form")
    return _load_archive(io.BytesIO(content))


def _call(function: Callable[..., Any]) -> Callable[[], Callable[..., Any]]:
    """Makes a new function at each use, so that no pickle changes what another one is given."""
    return lambda: lambda *args, **kwargs: function(*args, **kwargs)


SAFE: dict[tuple[str, str], Callable[[], Callable[..., Any]]] = {
    ("collections", "OrderedDict"): _call(OrderedDict),
    ("builtins", "set"): _call(set),
    ("__builtin__", "set"): _call(set),
    ("_codecs", "encode"): _call(lambda text, _: text.encode("latin1")),  # bytes, in protocol 2
    ("copyreg", "_reconstructor"): _call(lambda cls, *_: cls()),
    ("copy_reg", "_reconstructor"): _call(lambda cls, *_: cls()),
    ("torch", "Size"): _call(torch.Size),
    ("torch._utils", "_rebuild_tensor"): _call(torch._utils._rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _call(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_tensor_v3"): _call(torch._utils._rebuild_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): _call(lambda data, *_: data),
    ("torch._utils", "_rebuild_parameter_with_state"): _call(lambda data, *_: data),
    ("torch._tensor", "_rebuild_from_type_v2"): _call(lambda function, _, args, __: function(*args)),
    ("torch.storage", "_load_from_bytes"): _call(_storage_from_bytes),
}
