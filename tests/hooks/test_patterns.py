"""Parameters chosen by patterns of their names."""

from __future__ import annotations

import pytest
import torch

from metaft.errors import ConfigError
from metaft.hooks.ftp import FTP
from metaft.hooks.patterns import Only, bare, except_for, matching
from metaft.hooks.spd import SPD
from tests.hooks.rows import KNOBS, tensors


class TestPatterns:
    NAMES = ("module.head.weight", "module.head.bias", "module.visual.weight")

    def test_wrappers_are_looked_through(self):
        assert bare("_orig_mod.module.head.bias") == "head.bias"
        assert matching(self.NAMES, ["head.*"]) == list(self.NAMES[:2])

    def test_an_exclusion_that_matches_nothing_fails(self):
        with pytest.raises(ConfigError, match=r"finetune.exclude: 'haed.\*' matches no parameter; allowed: patterns"):
            except_for(SPD(), self.NAMES, ["head.*", "haed.*"])
        with pytest.raises(ConfigError, match="every parameter is excluded"):
            except_for(SPD(), self.NAMES, ["*"])
        plain = SPD()
        assert except_for(plain, self.NAMES, []) is plain

    def test_excluded_ones_take_the_plain_step(self):
        anchors, values, proposed = tensors(0), tensors(1), tensors(2)
        every_hook, hook = FTP(), except_for(FTP(), ("a", "b", "c"), ["b"])
        assert isinstance(hook, Only)
        ours, theirs = hook.initial(anchors), every_hook.initial(anchors)
        for _ in range(3):
            _, ours = hook.before(tensors(3), values, anchors, ours, KNOBS)
            _, theirs = every_hook.before(tensors(3), values, anchors, theirs, KNOBS)
            some, ours = hook.after(proposed, anchors, ours, KNOBS)
            every, theirs = every_hook.after(proposed, anchors, theirs, KNOBS)
        assert not any(torch.equal(ours, theirs) for ours, theirs in zip(every, proposed, strict=True)), "all project"
        assert torch.equal(some[1], proposed[1])
        assert torch.equal(some[0], every[0])
        assert torch.equal(some[2], every[2])
        assert hook.result(some, ours)[1] is some[1]
