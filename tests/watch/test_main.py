"""python -m metaft.watch: it follows a run to its end, with or without a terminal, and ends as it should."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import metaft
from metaft.watch import __main__ as watch
from tests.test_layout import loaded
from tests.watch.folders import PHASES, ended, opening, searching

ROOT = Path(metaft.__file__).parent.parent


def test_a_frame_without_a_terminal(tmp_path):
    searching(tmp_path / "run")
    command = [sys.executable, "-m", "metaft.watch", tmp_path / "run", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    assert done.stderr == ""
    assert "search: 4 trials; 24 % of its budget" in done.stdout
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


def test_it_loads_nothing_heavy(tmp_path):
    searching(tmp_path / "run")
    words = [str(tmp_path / "run"), "--once"]
    assert (
        loaded(f"import sys; sys.modules['rich'] = None\nfrom metaft.watch.__main__ import main\nmain({words})")
        == set()
    )


def test_it_follows_a_run_to_its_end(tmp_path, monkeypatch, capsys):
    later = iter(PHASES[1:])
    opening(tmp_path / "run")
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: next(later)(tmp_path / "run"))
    assert watch.main([str(tmp_path / "run")]) == 0
    assert next(later, None) is None
    assert "ended. zero_shot is handed back" in " ".join(capsys.readouterr().out.split())


def test_a_run_that_has_ended_is_shown_once(tmp_path, monkeypatch):
    ended(tmp_path / "run")
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: pytest.fail("waited"))
    assert watch.main([str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("words", [[], ["--once"]], ids=str)
def test_no_run_is_one_line(words, tmp_path, capsys):
    assert watch.main([str(tmp_path), *words]) == 3
    assert capsys.readouterr().err == f"error: {tmp_path}: no run; allowed: the folder of a run that was begun\n"


def test_without_rich_it_is_told_what_to_install(tmp_path, monkeypatch, capsys):
    opening(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "rich.live", None)
    assert watch.main([str(tmp_path / "run")]) == 2
    assert 'no package rich; allowed: --once; or pip install "metaft[watch]"' in capsys.readouterr().err


WAITING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)  # in tests that are run in the background it is ignored
from metaft.watch import __main__ as watch
sleep = time.sleep
watch.time.sleep = lambda seconds: (print("waiting", file=sys.stderr, flush=True), sleep(60))
watch.leave(watch.main(sys.argv[1:]))
"""


def test_an_interrupted_view_ends_with_130(tmp_path):
    searching(tmp_path / "run")
    command = [sys.executable, "-c", WAITING, tmp_path / "run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT) as shown:
        assert shown.stderr.readline() == "waiting\n"
        shown.send_signal(signal.SIGINT)
        _, error = shown.communicate(timeout=60)
    assert shown.returncode == 130
    assert error == f"\ninterrupted; go on with: python -m metaft.watch {tmp_path / 'run'}\n"


@pytest.mark.full
def test_a_real_run_is_seen_from_its_search_to_its_end(tmp_path, small, monkeypatch):
    seen, now = [], watch.Looking.now
    monkeypatch.setattr(watch.Looking, "now", lambda looking: seen.append(now(looking)) or seen[-1])
    monkeypatch.setattr(watch, "EVERY", 0.2)
    out = tmp_path / "run"
    words = ["--mode", "tpe", "--out", str(out), "evaluation.methods=[zero_shot, autoft]", *small]
    with subprocess.Popen([sys.executable, "-m", "metaft.run", *words], cwd=ROOT, stdout=subprocess.DEVNULL) as run:
        while not (out / "config.yaml").exists():
            assert run.poll() is None
        assert watch.main([str(out)]) == 0
        assert run.wait(timeout=60) == 0
    assert [state.ended for state in seen] == sorted(state.ended for state in seen)
    assert max(len(state.trials) for state in seen if state.searching) > 0
    assert seen[-1].ended
    assert set(seen[-1].results["methods"]) == {"zero_shot", "autoft"}
