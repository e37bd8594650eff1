"""The architectures that can be named are open_clip's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import open_clip

import metaft.clip.embedded  # adds the embedded models to open_clip
from metaft.clip.names import EMBEDDED, architectures
from tests.clip.architectures import added


def test_they_are_open_clips():
    assert metaft.clip.embedded
    assert set(EMBEDDED) <= set(open_clip.list_models())
    assert architectures() == sorted(open_clip.list_models())


def test_they_are_known_without_open_clip():
    code = (
        "import json, sys; from metaft.clip.names import architectures;"
        "print(json.dumps([architectures(), 'open_clip' in sys.modules, 'torch' in sys.modules]))"
    )
    root = Path(metaft.__file__).parent.parent
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert json.loads(out.stdout) == [sorted(open_clip.list_models()), False, False]


def test_one_that_a_program_adds_is_known(tmp_path):
    before = architectures()
    with added("added-clip", open_clip.get_model_config(EMBEDDED[0]), tmp_path):
        assert set(architectures()) - set(before) == {"added-clip"}
    assert architectures() == before
