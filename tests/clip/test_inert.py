"""Pickles are read without running what they name."""

from __future__ import annotations

import collections
import io
import os
import pickle
import zipfile
from typing import NamedTuple

import pytest
import torch

from metaft.clip.checkpoint import read
from metaft.clip.contents import contents_of
from metaft.clip.inert import Inert, load
from metaft.errors import CheckpointError


class Call:
    """Pickled as a call of a function with arguments."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


def attacks(path):
    """Objects whose unpickling writes a file, in the ways that pickles have."""
    command = f"touch {path}"
    return {
        "os.system": Call(os.system, command),
        "exec": Call(exec, f"import os; os.mkdir({str(path)!r})"),
        "eval": Call(eval, f"__import__('os').mkdir({str(path)!r})"),
        "os.mkdir": Call(os.mkdir, str(path)),
        "torch.save": Call(torch.save, torch.ones(1), str(path)),
        "a storage that holds a pickle": Call(torch.storage._load_from_bytes, pickle.dumps(Call(os.system, command))),
        "a storage of torch.save": Call(torch.storage._load_from_bytes, saved(Call(os.system, command), old=True)),
        "a storage that is an archive": Call(
            torch.storage._load_from_bytes, saved(Call(os.system, command), old=False)
        ),
    }


def saved(found, *, old):
    buffer = io.BytesIO()
    torch.save(found, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


ATTACKS = list(attacks("x"))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("form", ["pickle", "archive", "old archive"])
def test_no_code_runs(attack, form, tmp_path):
    written = tmp_path / "written"
    found = {"state_dict": {"a": torch.ones(2)}, "extra": attacks(written)[attack]}
    content = pickle.dumps(found) if form == "pickle" else saved(found, old=form == "old archive")
    (tmp_path / "c.pt").write_bytes(content)
    try:
        assert torch.equal(read(tmp_path / "c.pt").tensors["state_dict.a"], torch.ones(2))
    except CheckpointError as error:
        assert "in an unknown form" in str(error)  # noqa: PT017 (either outcome is safe)
    assert not written.exists()
    if form == "pickle" and "storage" not in attack:
        pickle.loads(content)
        assert written.exists(), "it would have run"


def test_nothing_of_torch_is_changed_by_a_pickle():
    before = dict(vars(torch._utils._rebuild_tensor_v2))
    state = (None, {"evil": 1})
    content = pickle.dumps(Call(torch._utils._rebuild_tensor_v2, state=None).call[0], protocol=2)
    assert load(io.BytesIO(content[:-1] + pickle.dumps(state, protocol=2)[2:-1] + b"b.")).evil == 1
    assert vars(torch._utils._rebuild_tensor_v2) == before


def test_unknown_objects_keep_their_state_and_items():
    for protocol in range(2, 6):
        content = pickle.dumps({"a": pickle.PickleError, "b": Call(Exception, 1, state={"x": 2})}, protocol=protocol)
        found = load(io.BytesIO(content))
        assert isinstance(found["b"], Inert)
        assert found["b"].state == {"x": 2}
        assert found["b"].origin in ("builtins.Exception", "exceptions.Exception")  # the second in protocol 2


class State(NamedTuple):
    step: int
    params: dict


@pytest.mark.parametrize("protocol", range(2, 6))
def test_what_objects_are_made_of_is_kept(protocol):
    """As by named tuples, and by what holds a module as an argument; no step of theirs is a tensor."""
    weights = {"a": torch.ones(2)}
    made = {"state": State(3, weights), "call": Call(collections.ChainMap, weights, {}), "other": Exception("why")}
    found = load(io.BytesIO(pickle.dumps(made, protocol=protocol)))
    assert found["state"].state.keys() == {"1"}
    assert found["other"].state == {}
    assert contents_of(found).tensors.keys() == {"state.1.a", "call.0.a"}


def test_a_compiled_module_that_was_saved_whole(tmp_path):
    model = torch.nn.Linear(2, 3)
    torch.save({"model": torch.compile(model), "epoch": 3}, tmp_path / "c.pt")
    found = read(tmp_path / "c.pt").tensors
    assert {name: t.shape for name, t in found.items()} == {"model.0.weight": (3, 2), "model.0.bias": (3,)}


def test_scripted_code_is_not_compiled(tmp_path):
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("c/data.pkl", pickle.dumps(Call(os.system, f"touch {tmp_path / 'written'}")))
        archive.writestr("c/constants.pkl", b"")
        archive.writestr("c/code/__torch__.py", "class A(Module):\n  def __setstate__(self, x): ...")
    with pytest.raises(CheckpointError, match=r"an object of the class posix\.system, without tensors"):
        read(tmp_path / "c.pt")
    assert not (tmp_path / "written").exists()
