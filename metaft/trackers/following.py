"""Telling trackers how a run goes: a thread reads what the run writes, so that nothing of the run hangs on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from threading import Event, Thread

from metaft import ranks
from metaft.config.schema import Config
from metaft.errors import ConfigError, Fault, first_line
from metaft.progress import warn
from metaft.trackers.news import News, Reader
from metaft.trackers.registry import TRACKERS, Tracker

EVERY = 2.0  # seconds between two looks


@contextmanager
def followed(run: Path, cfg: Config) -> Iterator[None]:
    """A context during which the trackers of `report_to` are told what a run's folder has, and what comes to it.

    A run that goes on is told from its beginning. A tracker that fails is warned of, and told no more.

    Raises:
        ConfigError: one of them cannot begin.
    """
    if not (cfg.report_to and ranks.leads()):
        yield
        return
    with redirect_stdout(sys.stderr):  # the run's own output is its results
        trackers = {name: _begun(name, run, cfg) for name in cfg.report_to}
    over = Event()
    thread = Thread(target=_tell, args=(trackers, Reader(run), over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with redirect_stdout(sys.stderr):
            _close(trackers)


def _begun(name: str, run: Path, cfg: Config) -> Tracker:
    try:
        return TRACKERS[name].make(run, json.loads(cfg.model_dump_json()))
    except Exception as error:  # of any kind, by a program of others
        found = f"{name}, which cannot begin ({first_line(error)})"
        raise ConfigError([Fault("report_to", found, "trackers that can, or []")]) from error


def _tell(trackers: dict[str, Tracker], reader: Reader, over: Event) -> None:
    """Tell what comes, until it is over and everything is told."""
    last = False
    while not last:
        last = over.wait(EVERY)
        for news in _news(reader):
            for name, tracker in list(trackers.items()):
                try:
                    tracker.log(news.part, news.step, news.values)
                except Exception as error:
                    warn(f"report_to: {name} is told no more, since it failed: {first_line(error)}")
                    del trackers[name]


def _news(reader: Reader) -> list[News]:
    """What has come; nothing where a file is damaged or cannot be read, which is for the run to tell."""
    try:
        return list(reader.news())
    except Exception:
        return []


def _close(trackers: dict[str, Tracker]) -> None:
    for name, tracker in trackers.items():
        try:
            tracker.close()
        except Exception as error:
            warn(f"report_to: {name} failed as it ended: {first_line(error)}")
