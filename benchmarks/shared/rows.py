"""What every benchmark has: arguments, provenance, and a file of rows that is filled cell by cell."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from metaft.data.registry import PICTURES, SUITE_VERSION
from metaft.files import to_json, write

RESULTS = Path(__file__).parent.parent / "results"
PACKAGES = ("torch", "higher", "open_clip_torch", "numpy", "scikit-learn")
WHERE = ("versions", "device")
Row = dict[str, Any]


def arguments(
    name: str, description: str | None, seeds: tuple[int, ...], **more: int | tuple[str, ...] | Mapping[str, Any]
) -> argparse.Namespace:
    """--device, --seeds, --quick, --out and `more`; the default file is results/DEVICE/NAME.json.

    These are numbers, lists, or the names of a mapping, of which by default all are taken.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--quick", action="store_true", help="a smaller version that ends within 60 s on 2 cores")
    parser.add_argument("--out", type=Path)
    for flag, default in more.items():
        if isinstance(default, int):
            parser.add_argument(f"--{flag}", type=int, default=default)
        else:
            known = tuple(default) if isinstance(default, Mapping) else None
            parser.add_argument(f"--{flag}", nargs="*", default=list(default), choices=known)
    args = parser.parse_args()
    if args.out is None:
        args.out = RESULTS / args.device.partition(":")[0] / f"{name}.json"
        if args.quick:
            parser.error("--quick needs --out, so that its rows never mix with full ones")
    return args


def _without_out(words: list[str]) -> list[str]:
    """A command's words but where its rows go, which says nothing about them."""
    if "--out" not in words:
        return words
    place = words.index("--out")
    return words[:place] + words[place + 2 :]


class Rows:
    """The rows of a result file; a cell that is there already is not measured again.

    Rows that are added on another device or with other versions than the first ones say so themselves, as `measured`.
    `more` names packages whose versions matter beside the usual ones.
    """

    def __init__(self, name: str, args: argparse.Namespace, keys: tuple[str, ...], more: tuple[str, ...] = ()) -> None:
        self._path: Path = args.out
        self._keys = keys
        here = {
            "command": " ".join(["python", f"benchmarks/{name}.py", *_without_out(sys.argv[1:])]),
            "versions": {"python": platform.python_version(), **{p: version(p) for p in (*PACKAGES, *more)}},
            "device": {"type": args.device, "name": _processor(args.device), "threads": torch.get_num_threads()},
            "date": time.strftime("%Y-%m-%d"),
            "seeds": args.seeds,
            "suite_version": SUITE_VERSION,
        }
        self._meta, self.rows = here, list[Row]()
        if self._path.exists():
            self.rows = read(self._path)
            self._meta = _continued(json.loads(self._path.read_text())["meta"], here)
        self._apart = {key: here[key] for key in WHERE if here[key] != self._meta[key]}

    def __contains__(self, cell: Mapping[str, Any]) -> bool:
        return any(all(row.get(k) == cell.get(k) for k in self._keys) for row in self.rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a row, in the place of one with the same keys, and write the file."""
        others = [other for other in self.rows if any(other.get(k) != row.get(k) for k in self._keys)]
        self.rows = [*others, {**row, **({"measured": self._apart} if self._apart else {})}]
        rows_text = ",\n".join(to_json(r) for r in self.rows)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write(self._path, f'{{"meta": {to_json(self._meta, indent=1)},\n"rows": [\n{rows_text}\n]}}\n')
        print({k: row[k] for k in row if not isinstance(row[k], dict)}, flush=True)


def _continued(before: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    """What a file says of its first rows, with a further command, further seeds and today's date."""
    commands = dict.fromkeys([*before["command"].split("; "), here["command"]])
    seeds = list(dict.fromkeys([*before["seeds"], *here["seeds"]]))
    return {**here, **{key: before[key] for key in WHERE}, "command": "; ".join(commands), "seeds": seeds}


@cache
def committed(name: str) -> tuple[Row, ...]:
    """The committed rows of a benchmark on the CPU."""
    return tuple(read(RESULTS / "cpu" / f"{name}.json"))


def read(path: Path) -> list[Row]:
    """The rows of a result file, if their version of the embedded suites and models has the current one's pictures."""
    result = json.loads(path.read_text())
    version = result["meta"].get("suite_version")
    if version not in range(PICTURES, SUITE_VERSION + 1):
        raise SystemExit(f"{path}: suite version {version}, but the suites are at {SUITE_VERSION}: measure again")
    return list(result["rows"])


def _processor(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
