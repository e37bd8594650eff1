"""Reading a checkpoint file of any form that people have, without running code in it, or naming what it is instead."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from metaft.clip import inert
from metaft.clip.contents import Contents, EndlessError, contents_of
from metaft.errors import CheckpointError, first_line
from metaft.forms import HEAD, PACKED, beginning, form_of
from metaft.texts import half_letter

FORMS = "a safetensors file, a file of torch.save or pickle, or a TorchScript archive, with a CLIP model's weights"
LARGEST_HEADER = 100_000_000  # bytes, of a safetensors file: the format's own limit
OTHER = "it holds no weights of torch"
TRUNCATED = "half a download"


class _UnreadableError(Exception):
    """What a file is instead of a checkpoint, and what to do about it."""

    def __init__(self, found: str, remedy: str = "") -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy


def read(path: Path) -> Contents:
    """The tensors in a checkpoint file by dotted name, with the settings and classes beside them.

    The bytes tell the form, whatever the file's ending: safetensors, archives of torch.save, what torch.save wrote
    before 1.6, pickles, TorchScript, and the index of a checkpoint in shards, which lie beside it.

    Raises:
        CheckpointError: it cannot be opened, is of another form, damaged, or without tensors.
    """
    try:
        contents = _read(path)
        if not contents.tensors:
            raise _UnreadableError(f"{contents.kind}, without tensors")
    except _UnreadableError as error:
        remedy = f" ({error.remedy})" if error.remedy else ""
        found = f"it is {error.found}{remedy}"
        raise CheckpointError(f"model.pretrained: {str(path)!r} cannot be loaded: {found}; allowed: {FORMS}") from error
    return contents


def _read(path: Path) -> Contents:
    try:
        if path.is_dir():
            raise _UnreadableError("a folder", _files_in(path))
        if not path.is_file():
            raise _UnreadableError("no file")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise _UnreadableError(f"not readable: {error.strerror}") from error
    reader = _reader(head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated storages and changed source code, which nothing here depends on
        try:
            return reader(path)
        except (_UnreadableError, CheckpointError):
            raise
        except EndlessError as error:
            raise _UnreadableError(str(error)) from error
        except Exception as error:  # readers of damaged bytes raise everything there is
            reason = first_line(error)
            raise _UnreadableError(f"damaged or {TRUNCATED}: {reason:.200}", "fetch it again") from error


def _reader(head: bytes) -> Callable[[Path], Contents]:
    """What reads a file that begins with these bytes."""
    # First, as the length of a header may begin as another form does.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LARGEST_HEADER:
        return _read_safetensors
    if head.startswith(b"PK"):  # torch's own form, too
        return _read_zip
    if form := form_of(head):
        raise _UnreadableError(form.what, OTHER if form.what.endswith("picture") else form.remedy or OTHER)
    if head.startswith(inert.TORCH_MAGIC):
        return _read_archive
    if head[0] == 0x80 and b"joblib" in head:
        raise _UnreadableError("a joblib file, of numpy arrays", "torch.save a dict of torch.from_numpy of each")
    if head[0] == 0x80:  # the first byte of every pickle since protocol 2
        return lambda file: contents_of(inert.load_plain(file))
    if head[257:262] == b"ustar":
        raise _UnreadableError("a tar archive", PACKED)
    return _read_text


def _read_safetensors(path: Path) -> Contents:
    notes = _refuse_truncated(path)
    if half_letter(str(path)):  # bytes that are no UTF-8, which safetensors would have
        return Contents(safetensors.torch.load(path.read_bytes()), settings=notes)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        return Contents(tensors, settings=dict(file.metadata() or {}))


def _refuse_truncated(path: Path) -> dict[str, Any]:
    """The notes of a safetensors file; raise where it ends before the tensors that its header announces."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length)
    size = path.stat().st_size
    expected = 8 + length
    notes: dict[str, Any] = {}
    if len(header) == length:
        entries = json.loads(header)
        notes = entries.pop("__metadata__", None) or {}
        expected += max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if size < expected:
        raise _UnreadableError(f"{TRUNCATED}: {size} of {expected} bytes", "fetch it again")
    return notes


def _read_zip(path: Path) -> Contents:
    try:
        with zipfile.ZipFile(path) as archive:
            names, damaged = archive.namelist(), archive.testzip()  # by its checksums, which torch does not look at
    except zipfile.BadZipFile as error:
        size = path.stat().st_size
        raise _UnreadableError(
            f"{TRUNCATED}: {size} bytes of an archive whose end is missing", "fetch it again"
        ) from error
    if damaged is not None:
        raise _UnreadableError(f"an archive of which {damaged} is damaged", "fetch it again")
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        return contents_of(inert.load_torchscript(path))
    if "data.pkl" in inner:
        return _read_archive(path)
    shown = f"{len(names)} entries, such as {', '.join(names[:3])}"
    if names and all(name.endswith(".npy") for name in names):
        raise _UnreadableError(f"a numpy archive of {shown}", "torch.save a dict of torch.from_numpy of each")
    raise _UnreadableError(f"a zip archive of {shown}" if names else "an empty zip archive", PACKED if names else "")


def _read_archive(path: Path) -> Contents:
    try:
        with path.open("rb") as file:  # given a path, torch would go by its ending
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # it holds other objects than tensors, or is damaged, which the next reader finds as well
        found = inert.load_archive(path)
    return contents_of(found)


def _read_text(path: Path) -> Contents:
    with path.open("rb") as file:
        start = file.read(HEAD)
    text = start.decode("utf-8-sig", errors="replace").strip()
    if text.startswith("<"):
        raise _UnreadableError(f"an XML or HTML document beginning {text[:60]!r}", "fetch the file itself")
    if text.startswith(("{", "[")):
        return _read_json(path)
    if said := beginning(start):
        raise _UnreadableError(f"a text beginning {said!r}", "fetch the file itself")
    raise _UnreadableError(f"of an unknown form, beginning with the bytes {start[:8].hex(' ')}")


def _read_json(path: Path) -> Contents:
    """The tensors of a sharded checkpoint, from its index `{"weight_map": {NAME: FILE}}`."""
    found: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    shards = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(shards, dict):
        raise _UnreadableError("a JSON file", "give the weights that lie beside it")
    files = sorted({str(name) for name in shards.values()})
    missing = [name for name in files if not (path.parent / Path(name).name).is_file()]
    if missing:
        raise _UnreadableError(
            f"the index of a checkpoint in {len(files)} shards, of which {missing[0]} is not beside it",
            "put all shards into its folder",
        )
    parts = [read(path.parent / Path(name).name) for name in files]
    return Contents({name: tensor for part in parts for name, tensor in part.tensors.items()}, kind="shards")


def _files_in(folder: Path) -> str:
    """What to give instead of a folder."""
    if (folder / "open_clip_config.json").is_file():
        return f"model.name=local-dir:{folder} opens it"
    endings = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
    files = sorted(file.name for file in folder.iterdir() if file.suffix in endings)
    return f"give a file in it, such as {files[0]}" if files else "give a file"
