"""The rows that a rank computes: those of torch's parts, read alone, whoever reads ahead."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.apart import _own
from metaft.build.fits import fit_settings
from metaft.data.rows import WHOLE, Share, overlap, read
from metaft.finetune.context import FitContext
from metaft.finetune.trainee import Trainee
from metaft.objective import Objective
from metaft.training.batches import TrainBatches
from tests.finetune.states import with_finetune


class Counted:
    """A source that takes note of what is read."""

    def __init__(self, source) -> None:
        self._source, self.read = source, []

    def pixels(self, indices):
        self.read += indices
        return self._source.pixels(indices)


@pytest.mark.parametrize(("total", "count"), [(7, 3), (8, 4), (4, 4), (12, 1), (3, 4)])
def test_they_are_those_that_a_rank_runs_the_model_on(total, count, monkeypatch):
    """All, where there are fewer rows than ranks, as each then runs it on all."""
    monkeypatch.setattr("metaft.apart.count", lambda: count)
    for number in range(count):
        monkeypatch.setattr("metaft.apart.number", lambda number=number: number)
        expected = list(range(total)) if total < count else _own(torch.arange(total)).tolist()
        assert list(Share(number, count).rows(total)) == expected


def test_parts_of_rows():
    rows = range(3, 9)
    assert [overlap(rows, begin, size) for begin, size in ((0, 5), (5, 3), (8, 4), (12, 2))] == [
        *(range(3, 5), range(3), range(1), range(0))
    ]


def test_no_other_picture_is_read(work):
    source = Counted(work.splits.id_val.source)
    whole = work.splits.id_val.source.pixels([5, 9, 2, 7])
    found = read(source, [5, 9, 2, 7], range(1, 3))
    assert source.read == [9, 2]
    assert torch.equal(found[1:3], whole[1:3])
    assert found.shape == whole.shape
    assert not found[[0, 3]].any()
    assert read(source, [5, 9], range(0)).shape == (2, *whole.shape[1:])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_ranks_read_a_batch_of_several_sources_once_together(work, count):
    """Eight images and four of a further source: each rank has its own rows, and no image is read twice."""
    sources = {name: getattr(work.splits, name) for name in ("id_train", "ood_val")}
    counted = {name: Counted(split.source) for name, split in sources.items()}
    parts = [replace(split, source=counted[name]) for name, split in sources.items()]

    def drawn(splits):
        batches = TrainBatches(splits[0], None, None, "cpu", {"ood_val": splits[1]})
        return batches.drawn(2, 8, torch.Generator().manual_seed(0))

    whole = [batch.all_images for batch in drawn(list(sources.values())).following(0)]
    together = [[batch.all_images for batch in drawn(parts).following(0, Share(i, count))] for i in range(count)]
    for number, images in enumerate(whole):
        for i, found in enumerate(together):
            rows = torch.arange(12).tensor_split(count)[i]
            assert torch.equal(found[number][rows], images[rows])
    assert len(counted["id_train"].read) == 16 + spare(count, 8, 12)
    assert len(counted["ood_val"].read) == 8 + spare(count, 4, 12, begin=8)


def spare(count: int, size: int, total: int, begin: int = 0) -> int:
    """The images that ranks without rows of a source read of it in two batches, to know what pixels are like."""
    rows = [Share(i, count).rows(total) for i in range(count)]
    return 2 * sum(not overlap(own, begin, size) for own in rows)


def test_all_is_read_where_a_step_looks_at_all(work, monkeypatch):
    """In parts, each of which ranks share, and by a method's own term."""
    context = FitContext(fit_settings(work))
    monkeypatch.setattr("metaft.ranks.share", lambda: Share(1, 2))
    begin = lambda own=None, **how: Trainee.begin(  # noqa: E731
        work.classifier, Objective({"ce": 1.0}, 1e-3, 0.1), with_finetune(context, **how).settings, None, own=own
    )
    assert begin().share == Share(1, 2)
    assert begin(accumulate=2).share == begin(own=lambda seen: 0).share == WHOLE
