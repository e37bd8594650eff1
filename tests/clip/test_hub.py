"""Hugging Face's hub is asked only where it answers."""

from __future__ import annotations

import socket

import pytest

from metaft.clip import hub


@pytest.mark.parametrize(
    ("asked", "answers", "offline"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_offline_where_it_does_not_answer(asked, answers, offline, monkeypatch):
    monkeypatch.setattr(hub, "_reachable", lambda endpoint: answers)
    with hub.offline_where_unreachable(asked):
        assert hub.hub.HF_HUB_OFFLINE is offline
    assert hub.hub.HF_HUB_OFFLINE is False


def test_an_answer_is_a_connection_or_a_proxy(monkeypatch):
    monkeypatch.setattr(hub, "getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert hub._reachable(address)
    assert not hub._reachable(address)
    monkeypatch.setattr(hub, "getproxies", lambda: {"no": "localhost"})
    assert not hub._reachable(address)
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert hub._reachable(address)
