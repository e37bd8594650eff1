"""Hugging Face's hub, asked without the minute of retries where there is no network."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub.constants as hub

SECONDS = 5.0


@contextmanager
def offline_where_unreachable(asked: bool = True) -> Iterator[None]:
    """Let Hugging Face's libraries use their cache alone, unless the hub answers or a proxy stands before it.

    Args:
        asked: whether they are going to ask it at all.
    """
    before = hub.HF_HUB_OFFLINE
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    hub.HF_HUB_OFFLINE = before or (asked and not _reachable(endpoint))
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _reachable(endpoint: str) -> bool:
    if getproxies().keys() & {"https", "http", "all"}:
        return True
    address = urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=SECONDS).close()
    except OSError:
        return False
    return True
