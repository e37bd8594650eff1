"""What every benchmark shares: arguments, provenance, and a file of rows that is filled cell by cell."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from metaft.files import to_json, write

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "higher", "open_clip_torch", "numpy", "scikit-learn")


def arguments(name: str, description: str | None, seeds: tuple[int, ...]) -> argparse.Namespace:
    """--device, --seeds, --quick, --out; the default file is results/DEVICE/NAME.json."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--quick", action="store_true", help="a smaller version that ends within 60 s on 2 cores")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.out is None:
        args.out = RESULTS / args.device.partition(":")[0] / f"{name}.json"
        if args.quick:
            parser.error("--quick needs --out, so that its rows never mix with full ones")
    return args


class Rows:
    """The rows of a result file; a cell that is there already is not measured again."""

    def __init__(self, name: str, args: argparse.Namespace, keys: tuple[str, ...]) -> None:
        self._path: Path = args.out
        self._keys = keys
        self._meta = {
            "command": " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]]),
            "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
            "device": {"type": args.device, "name": _processor(args.device), "threads": torch.get_num_threads()},
            "date": time.strftime("%Y-%m-%d"),
            "seeds": args.seeds,
        }
        self.rows: list[dict[str, Any]] = json.loads(self._path.read_text())["rows"] if self._path.exists() else []

    def __contains__(self, cell: Mapping[str, Any]) -> bool:
        return any(all(row[k] == cell[k] for k in self._keys) for row in self.rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a row and write the file."""
        self.rows.append(dict(row))
        write(self._path, to_json({"meta": self._meta, "rows": self.rows}, indent=1) + "\n")
        print({k: row[k] for k in row if not isinstance(row[k], dict)}, flush=True)


def _processor(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
