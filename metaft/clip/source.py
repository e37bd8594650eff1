"""Which configuration and which file the name of a model and of its weights mean."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import open_clip

from metaft.clip import trained_as
from metaft.clip.hub import offline_where_unreachable
from metaft.clip.names import architectures
from metaft.errors import CheckpointError, first_line, hint, nearest
from metaft.progress import quiet_log

RANDOM = "random"  # the value of `pretrained` that asks for untrained weights


def configuration(name: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture.

    Raises:
        CheckpointError: there is no such architecture or folder, or its configuration is unreadable.
    """
    if ":" not in name:
        if name not in architectures():
            allowed = f"one of open_clip's, as --list models shows{hint(name, architectures())}"
            raise CheckpointError(f"model.name: unknown architecture {name!r}; allowed: {allowed}")
        return dict(open_clip.get_model_config(name))
    schema, _, place = name.partition(":")
    if schema == "hf-hub":
        with quiet_log(), offline_where_unreachable():
            try:
                return dict(open_clip.get_model_config(name))
            except Exception as error:  # whatever stands between here and the hub
                found = f"{name!r} has no configuration that can be had ({first_line(error)})"
                raise CheckpointError(f"model.name: {found}; allowed: a repository of open_clip, online") from error
    if schema != "local-dir":
        raise CheckpointError(f"model.name: {name!r}; allowed: an architecture, local-dir:FOLDER, hf-hub:REPOSITORY")
    config, _ = trained_as.beside(Path(place) / "any")
    if config is None:
        raise CheckpointError(f"model.name: no open_clip_config.json in {place!r}; allowed: a folder with one")
    return config


def weights_file(name: str, pretrained: str | None) -> Path | None:
    """The file of weights that is meant, or None for a tag, the hub and random weights.

    Raises:
        CheckpointError: there is no such file.
    """
    if pretrained == RANDOM or (pretrained and ":" not in name and open_clip.get_pretrained_cfg(name, pretrained)):
        return None
    if pretrained is not None:
        try:
            path = Path(pretrained).expanduser()
            found = path.exists()
        except PermissionError as error:
            allowed = "a file in a folder that may be entered"
            raise CheckpointError(f"model.pretrained: {pretrained!r}: {error.strerror}; allowed: {allowed}") from error
        except (OSError, RuntimeError):  # a name that is too long, a home that nobody has
            found = False
        if found:
            return path
        raise CheckpointError(_not_found(name, pretrained))
    if name.startswith("local-dir:"):
        folder = name.partition(":")[2]
        with quiet_log():
            weights = open_clip.factory._find_checkpoint_in_dir(Path(folder))
        if weights is None:
            allowed = "a folder with open_clip_model.safetensors, or model.pretrained=FILE"
            raise CheckpointError(f"model.name: no weights in {folder!r}; allowed: {allowed}")
        return Path(weights)
    if ":" in name:
        return None
    raise CheckpointError(f"model.pretrained: nothing given for {name!r}; allowed: {_allowed(_tags(name))}")


def _not_found(name: str, pretrained: str) -> str:
    tags = _tags(name)
    found = f"{pretrained!r} is {_link(Path(pretrained)) or f'neither a file nor a tag of {name!r}'}"
    like = nearest(pretrained, tags)
    meant = f". Did you mean {like!r}?" if like else ""
    return f"model.pretrained: {found}; allowed: {_allowed(tags)}{meant}"


def _link(path: Path) -> str | None:
    """What a path is that is a link to nowhere; None: it is none."""
    with suppress(OSError, ValueError):  # no such path can be
        if path.is_symlink():
            return f"a link to {str(path.readlink())!a}, where nothing can be found"
    return None


def _tags(name: str) -> list[str]:
    """open_clip's tags of an architecture; a folder or repository has none."""
    tags: list[str] = [] if ":" in name else open_clip.list_pretrained_tags_by_model(name)
    return tags


def _allowed(tags: list[str]) -> str:
    return f"an existing file, 'random', or a tag of {tags}" if tags else "an existing file or 'random'"
