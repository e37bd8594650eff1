"""Whether two runs came to the same, bit for bit but for times: the first difference, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file

from metaft.config import load
from metaft.files import TEMPORARY, to_json
from metaft.report.document import SUM
from metaft.runfolder import EVENTS
from metaft.search.executors.registry import SERIAL
from metaft.search.journal import PLACE
from metaft.tensors import digest

TIMES = ("seconds", "clock", "crc")  # a record's checksum covers its times
OF_PROCESS = ("command", "versions", "commit", "date")
UNLIKE = ("provenance.json", "results.md", "report.html", "warnings.txt")  # with times, or of one sitting


def difference(reference: Path, other: Path) -> str:
    """The first difference between two run folders, in words; empty: there is none."""
    wanted, found = _files(reference), _files(other)
    settings = load(reference / "config.yaml")
    in_turn = settings.evaluation.executor == SERIAL and settings.search.workers == 1
    if wanted != found:
        return f"files: {sorted(set(found) - set(wanted))} more, {sorted(set(wanted) - set(found))} missing"
    for name in wanted:
        if Path(name).name not in UNLIKE:
            contents = [_content(folder / name) for folder in (reference, other)]
            if not in_turn and name in (EVENTS, str(PLACE)):  # which workers' news join as they come
                contents = [sorted(content, key=to_json) for content in contents]
            said = _between(*contents)
            if said:
                return f"{name}: {said}"
    return ""


def _files(folder: Path) -> list[str]:
    """The files of a run by name, its journal first, locks aside."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return sorted((n for n in names if not n.endswith(".lock")), key=lambda name: (not name.endswith(".jsonl"), name))


def _content(path: Path) -> Any:
    """What a file says, without times."""
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
    if path.name == "results.json":
        results = _timeless(json.loads(path.read_text()))
        del results[SUM]  # which covers times too
        return {**results, "provenance": {k: v for k, v in results["provenance"].items() if k not in OF_PROCESS}}
    if path.name == "config.yaml":
        return {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "out"}
    if path.suffix == ".safetensors":
        return {name: digest({name: tensor}) for name, tensor in load_file(path).items()}
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _timeless(v) for k, v in value.items() if k not in TIMES}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _between(wanted: Any, found: Any) -> str:
    """The first difference between two values, and where it is within them."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        keys = list(dict.fromkeys([*wanted, *found]))
        pairs = [(k, wanted.get(k, "nothing"), found.get(k, "nothing")) for k in keys]
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = [(i, *both) for i, both in enumerate(zip(wanted, found, strict=True))]
    elif isinstance(wanted, list) and isinstance(found, list):
        return f"{len(found)} instead of {len(wanted)}"
    elif isinstance(wanted, bytes) and isinstance(found, bytes):
        return "" if wanted == found else "other bytes"
    else:
        return "" if wanted == found else f"{found!r} instead of {wanted!r}"
    return next((f"{key}: {said}" for key, a, b in pairs if (said := _between(a, b))), "")


def unfinished(folder: Path) -> list[str]:
    """The temporary files in a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob(f"*{TEMPORARY}")]
