"""Memory that runs out in a fine-tune: what is told of it."""

from __future__ import annotations

import pytest
import torch

from metaft.errors import OutOfMemoryError
from metaft.finetune.loop import train
from metaft.finetune.memory import lower, smaller
from metaft.finetune.trainee import Trainee
from tests.finetune.states import with_finetune

WORDS = "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: 9 bytes"


def test_it_names_what_would_take_less(work, data, context, monkeypatch):
    def without_room(*_):
        raise RuntimeError(f"{WORDS}\n trace")

    monkeypatch.setattr(Trainee, "advance", without_room)
    with pytest.raises(OutOfMemoryError) as caught:
        train(work.classifier, context.settings.plain, data, context, "ft")
    assert str(caught.value) == (
        f"ft: memory ran out as it was fine-tuned ({WORDS}); allowed: finetune.accumulate=2, "
        "finetune.checkpointing=true, finetune.precision=bfloat16 in a new run"
    )
    assert caught.value.words == ("finetune.accumulate=2", "finetune.checkpointing=true"), "a run may go on with them"
    least = with_finetune(context, accumulate=50, checkpointing=True, precision="bfloat16")
    with pytest.raises(OutOfMemoryError, match=r"allowed: a smaller model$"):
        train(work.classifier, context.settings.plain, data, least, "ft")


def test_other_errors_are_themselves(work, data, context, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Trainee, "advance", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        train(work.classifier, context.settings.plain, data, context, "ft")


def test_parts_are_no_more_than_images_and_ranks_may_share(context, monkeypatch):
    how = with_finetune(context, batch_size=12, accumulate=4, checkpointing=True).settings.finetune
    assert smaller(how) == ["finetune.accumulate=8"]
    assert smaller(how.model_copy(update={"accumulate": 8})) == []
    monkeypatch.setattr("metaft.ranks.count", lambda: 2)
    assert smaller(how.model_copy(update={"accumulate": 8})) == ["finetune.shard=true"]
    assert lower(how.model_copy(update={"precision": "float16"}), torch.device("cpu")) == []
