"""The wheel: everything that the package reads is in it, it is small, and what it installs runs by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import metaft

ROOT = Path(metaft.__file__).parent.parent
MEGABYTES = 10
pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of the sources, in which building leaves its traces."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "metaft", folder / "source" / "metaft", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, folder / "source"]
    subprocess.run(command, check=True)
    (found,) = folder.glob("*.whl")
    return found


def test_every_file_of_the_package_is_in_it(wheel):
    files = {str(f.relative_to(ROOT)) for f in (ROOT / "metaft").rglob("*") if f.is_file() and f.suffix != ".pyc"}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert names == files
    assert {"metaft/py.typed", "metaft/__init__.pyi", "metaft/clip/toy/toy-clip.safetensors"} < names


def test_it_is_small(wheel):
    assert wheel.stat().st_size <= MEGABYTES * 10**6


def test_its_version_is_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (archive.read(name) for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    message = message_from_bytes(metadata)
    assert message["Version"] == metaft.__version__
    assert message["License-Expression"] == "MIT"


def test_what_it_installs_runs_elsewhere(wheel, tmp_path):
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel]
    subprocess.run(command, check=True)
    env = {**os.environ, "PYTHONPATH": str(target)}

    def said(*words: str) -> str:
        command = [sys.executable, target / "bin" / "metaft", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=env).stdout

    assert said("--version") == f"metaft {metaft.__version__}\n"
    assert said("run", "--validate", "--mode", "tpe") == "the settings are valid\n"
    sizes = [f"data.options.{split}=40" for split in ("id_train", "id_val", "ood_val", "test")]
    assert "step equivalents" in said("run", "--mode", "tpe", "--dry-run", *sizes)  # with the toy's weights
