"""Ranks: processes that make one run together, as torchrun starts them.

Each opens the same data and model, and decides alike, since all see the same numbers (see `metaft.apart`) and the clock
of the first one. That one alone writes files and prints. A process alone is its own first rank, and waits for nobody.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from metaft.data.rows import Share
from metaft.errors import ConfigError, Fault, LaunchError, MetaftError, first_line, out_of_memory, why

T = TypeVar("T")
LOST = (  # torch's words: gloo's, NCCL's, and those of the store at which ranks meet
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe", "ncclRemoteError"),
    *("Timed out waiting", "Connection was likely closed", "wait timeout after"),
)
MEETING = ("RANK", "MASTER_ADDR", "MASTER_PORT")  # what the environment tells ranks beside WORLD_SIZE
PORTS = 2**16
ABSENT = "not there"
PATIENCE = timedelta(minutes=10)  # for what one rank does alone; a rank that dies is noticed at once
MOMENT = timedelta(seconds=5)  # for the first rank to say that it ends as this one does
REFUSAL = "metaft/refusal"  # where it says so


def launched() -> bool:
    """Whether this process is one of several that were started together."""
    return _set("WORLD_SIZE", 1) > 1


def _set(name: str, default: int) -> int:
    """A whole number of the environment.

    Raises:
        LaunchError: it is something else.
    """
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise LaunchError(str(Fault(name, repr(text), "a whole number, as torchrun sets it, or not set")))
    return int(text)


@contextmanager
def joined() -> Iterator[None]:
    """A context in which the ranks that were started together work together; a process alone is as before.

    Each rank of a machine takes a GPU of its own, where there are any.

    Raises:
        LaunchError: the environment does not say how they meet, or they do not.
    """
    if not launched() or _group() is not None:
        yield
        return
    _refuse_unmeetable()
    import torch
    import torch.distributed as dist

    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(_set("LOCAL_RANK", _set("RANK", 0)) % gpus)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        found = f"{where}, where {os.environ['WORLD_SIZE']} ranks do not meet ({first_line(error)})"
        allowed = "a free port of the first rank's machine, which all ranks reach, and all ranks started"
        raise LaunchError(str(Fault("MASTER_ADDR, MASTER_PORT", found, allowed))) from error
    try:
        yield
    except MetaftError as error:
        error.shared = error.shared or _told_by_the_first(str(error))
        raise
    finally:
        dist.destroy_process_group()


def _told_by_the_first(text: str) -> bool:
    """Whether the first rank ends with the same words as this one; that one says so to the others."""
    store = _group().distributed_c10d._get_default_store()
    try:
        if leads():
            store.set(REFUSAL, text)
            return True
        store.wait([REFUSAL], MOMENT)
        return bool(store.get(REFUSAL).decode() == text)
    except RuntimeError:  # it says nothing, or is gone
        return False


def _refuse_unmeetable() -> None:
    """Refuse an environment by which ranks cannot meet, before any waits for another.

    Raises:
        LaunchError: it names what is wrong.
    """
    if missing := [name for name in MEETING if name not in os.environ]:
        beside = f"not set, beside WORLD_SIZE={os.environ['WORLD_SIZE']}"
        raise LaunchError(str(Fault(", ".join(missing), beside, "all, as torchrun sets them, or none")))
    for name, limit in (("RANK", _set("WORLD_SIZE", 1)), ("MASTER_PORT", PORTS)):
        if _set(name, 0) >= limit:
            raise LaunchError(str(Fault(name, os.environ[name], f"less than {limit}")))
    host = os.environ["MASTER_ADDR"]
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        allowed = "the name or the address of the first rank's machine"
        raise LaunchError(str(Fault("MASTER_ADDR", f"{host!r} ({why(error)})", allowed))) from error


def _group() -> Any:
    """torch.distributed, where its ranks have met; it is not imported for a process alone."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def beside() -> int:
    """The number of ranks on this machine, as torchrun says it; 1 where nothing does."""
    return _set("LOCAL_WORLD_SIZE", 1) if count() > 1 else 1


def count() -> int:
    """The number of ranks; 1 for a process alone."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def number() -> int:
    """This rank's number, from 0."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def share() -> Share:
    """This rank among all, for what each does of its own rows alone."""
    return Share(number(), count())


def leads() -> bool:
    """Whether this rank writes files and prints."""
    return number() == 0


def started_as() -> int:
    """The number of this process among those that were started together, met or not."""
    rank = os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() and "WORLD_SIZE" in os.environ else 0


def out_of_own_memory(error: BaseException) -> bool:
    """Whether memory has run out in a process alone; of several, others wait for what one of them does not compute."""
    return out_of_memory(error) and count() == 1


def lost_another(error: BaseException) -> bool:
    """Whether an error is that of one rank that waits for another which has ended."""
    return launched() and isinstance(error, RuntimeError) and any(words in str(error) for words in LOST)


def meet() -> None:
    """Wait until all ranks are here: what the first has written before can be read then."""
    if count() > 1:
        _group().barrier()


def told(value: T) -> T:
    """The first rank's value, on all."""
    if count() == 1:
        return value
    held = [value]
    _group().broadcast_object_list(held, src=0)
    return held[0]


def gathered(value: T) -> list[T]:
    """The values of all ranks, on all."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    _group().all_gather_object(values, value)
    return values


def agreed(body: Callable[[], T]) -> T:
    """What a function gives on this rank, if none of them refuses; it may need no other rank.

    Raises:
        MetaftError: the first error of any rank, on all.
    """
    if count() == 1:
        return body()
    value, error = None, None
    try:
        value = body()
    except MetaftError as refused:
        error = refused
    for refusal in gathered(error):
        if refusal is not None:
            refusal.shared = True
            raise refusal
    return value  # type: ignore[return-value]


def leader_first(body: Callable[[], T]) -> T:
    """What a function gives on this rank, called on the first one before the others; it may need no other rank.

    Raises:
        MetaftError: the first error of any rank, on all.
    """
    first = agreed(lambda: body() if leads() else None)
    other = agreed(lambda: None if leads() else body())
    return first if leads() else other  # type: ignore[return-value]


def alone(body: Callable[[], T]) -> T:
    """What a function gives on the first rank, which alone calls it, on all.

    Raises:
        MetaftError: it refuses, on all.
    """
    return told(agreed(lambda: body() if leads() else None))  # type: ignore[return-value]


def refuse_others(described: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse ranks that are not about to do the same as the first one.

    Args:
        described: what all must have in common, by part and name.

    Raises:
        ConfigError: they differ; names the rank and what differs first, on all.
    """
    first, *others = gathered(described)
    faults = [
        Fault(
            f"rank {number}: {part}", f"{name} is {theirs.get(name, ABSENT)}", f"{ours.get(name, ABSENT)}, as on rank 0"
        )
        for number, other in enumerate(others, 1)
        for part in dict.fromkeys((*first, *other))
        for ours, theirs in [(first.get(part, {}), other.get(part, {}))]
        for name in dict.fromkeys((*ours, *theirs))
        if ours.get(name, ABSENT) != theirs.get(name, ABSENT)
    ]
    if faults:
        _refuse(faults)


def refuse_unshared(field: str, folder: Path) -> None:
    """Refuse a folder that not all ranks see, as one on a disk of the first one's machine; one without writes passes.

    Raises:
        ConfigError: it names the first rank that does not, on all.
    """
    if count() == 1:
        return
    name = told(_marked(folder) if leads() else None)
    if name is None:
        return
    mark = folder / name
    seen = gathered(mark.exists())
    if leads():
        mark.unlink(missing_ok=True)
    if not all(seen):
        found = f"{folder}, which is not the same folder on rank {seen.index(False)}"
        _refuse([Fault(field, found, "a folder on a disk that all ranks share")])


def _marked(folder: Path) -> str | None:
    """The name of a new file in a folder; None: it cannot be written to."""
    name = f".shared-{secrets.token_hex(8)}"
    try:
        (folder / name).touch()
    except OSError:
        return None
    return name


def _refuse(faults: Sequence[Fault]) -> NoReturn:
    """Refuse what all ranks know of."""
    error = ConfigError(faults)
    error.shared = True
    raise error
