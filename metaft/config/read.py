"""Settings read from YAML and `key=value`, with every fault reported at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from metaft.config.schema import Config as Config  # `metaft.config.Config` is how others call it
from metaft.config.yamlfile import parse_yaml, scalars_as_text
from metaft.errors import ConfigError, Fault, nearest


def load(path: Path | str | None = None, overrides: Iterable[str] = ()) -> Config:
    """Defaults, then a YAML file, then `key=value` overrides, checked together.

    Args:
        path: a YAML file, or None for the embedded default.
        overrides: such as `inner.steps=7`; values are YAML.

    Raises:
        ConfigError: with every fault of form (unknown or duplicate key, wrong type, impossible combination).
    """
    faults: list[Fault] = []
    raw = _read(Path(path), faults) if path is not None else {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            faults.append(Fault(override, "no key=value pair", "key=value, such as inner.steps=7"))
        else:
            _put(key, _as_typed(key, parse_yaml(text, key, faults), text), raw, faults)
    return _checked(raw, faults)


def from_mapping(settings: Mapping[str, Any]) -> Config:
    """Defaults with settings on top, nested (`{"inner": {"steps": 7}}`) or by dotted keys (`{"inner.steps": 7}`).

    Raises:
        ConfigError: as for `load`.
    """
    faults: list[Fault] = []
    raw: dict[str, Any] = {}
    for key, value in settings.items():
        _put(str(key), value, raw, faults)
    return _checked(raw, faults)


def _checked(raw: dict[str, Any], faults: list[Fault]) -> Config:
    _unknown_keys(raw, faults)
    config = _validate(raw, faults)
    if faults:
        raise ConfigError(faults, partial=config)
    return config


def dump(config: Config) -> str:
    """The settings as YAML that `load` reads back to the same settings."""
    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _read(path: Path, faults: list[Fault]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        faults.append(Fault("--config", f"cannot read {path}: {error}", "a readable YAML file"))
        return {}
    value = parse_yaml(text, str(path), faults)
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults.append(Fault(str(path), f"a {type(value).__name__} at the top", "a mapping of settings"))
        return {}
    return _all_as_typed(value, scalars_as_text(text))


def _all_as_typed(values: dict[str, Any], texts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A file's settings, of which those that are text are as they stand in the file."""
    return {
        key: _all_as_typed(value, texts[key], f"{prefix}{key}.")
        if isinstance(value, dict)
        else _as_typed(f"{prefix}{key}", value, texts[key])
        for key, value in values.items()
    }


def _as_typed(key: str, value: Any, text: Any) -> Any:
    """A setting's value; where the setting is text and YAML makes a number, a date or a truth of it, what was typed.

    Options of a data format keep a number that would be written otherwise, since it may be the name of a folder.
    """
    if value is None or isinstance(value, str | list | dict):
        return value
    typed = text.strip()
    if key.startswith("data.options."):
        return typed if typed.isdigit() and str(value) != typed else value
    return typed if _is_text(key) else value


def _is_text(key: str) -> bool:
    """Whether a setting is text or a path, of no other type than that."""
    section, _, name = key.rpartition(".")
    model = _sections().get(section) if section else Config
    field = None if model is None else model.model_fields.get(name)
    if field is None:
        return False
    kinds = {get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in _members(field.annotation)}
    return kinds - {type(None)} <= {str, Path}


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types of which an annotation allows any."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _put(key: str, value: Any, raw: dict[str, Any], faults: list[Fault]) -> None:
    """Set a dotted key in `raw`; a mapping is merged into the group that it is for."""
    if isinstance(value, Mapping) and "." not in key and key in _sections():
        for name, inner in value.items():
            _put(f"{key}.{name}", inner, raw, faults)
        return
    *parents, last = key.split(".")
    node: Any = raw
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            faults.append(Fault(key, f"{parent} is a value, not a group", "a key of a group"))
            return
    node[last] = value


def _sections() -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _unknown_keys(raw: dict[str, Any], faults: list[Fault]) -> None:
    """Report unknown keys with the nearest valid one anywhere, and drop them."""
    sections = _sections()
    paths = [f"{s}.{k}" for s, model in sections.items() for k in model.model_fields]
    paths += [name for name in Config.model_fields if name not in sections]
    for key in [k for k in raw if k not in Config.model_fields]:
        del raw[key]
        faults.append(_unknown_key(str(key), list(Config.model_fields), paths))
    for section, model in sections.items():
        group = raw.get(section)
        if isinstance(group, dict):
            for key in [k for k in group if k not in model.model_fields]:
                del group[key]
                faults.append(_unknown_key(f"{section}.{key}", list(model.model_fields), paths))


def _unknown_key(field: str, siblings: Sequence[str], paths: Sequence[str]) -> Fault:
    *_, name = field.split(".")
    sibling = nearest(name, siblings)
    prefix = field[: -len(name)]
    elsewhere = nearest(field, paths) or next((p for p in paths if p.split(".")[-1] == name), None)
    suggestion = prefix + sibling if sibling else elsewhere
    return Fault(field, "unknown key", ", ".join(siblings), suggestion)


def _validate(raw: dict[str, Any], faults: list[Fault]) -> Config:
    """The settings; faulty values are reported, then left at their defaults until the rest is valid."""
    for _ in range(100):
        try:
            return Config.model_validate_json(json.dumps(raw, default=str), strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False)
            faults.extend(_fault(d) for d in details)
            for detail in details:
                _drop(raw, detail["loc"])
    raise AssertionError("settings did not become valid by leaving out the faulty ones")


def _drop(raw: dict[str, Any], location: Sequence[str | int]) -> None:
    """Remove the setting at a location: the key itself, or its group where the group as a whole is at fault."""
    keys = [str(k) for k in location[:2]]
    if len(keys) == 2 and isinstance(raw.get(keys[0]), dict) and keys[1] in raw[keys[0]]:
        del raw[keys[0]][keys[1]]
    else:
        raw.pop(keys[0], None)


def _fault(detail: ErrorDetails) -> Fault:
    field = ".".join(str(k) for k in detail["loc"]) or "settings"
    if detail["type"] == "missing" and isinstance(detail["loc"][-1], int):
        return Fault(field.rpartition(".")[0], repr(detail["input"]), f"at least {detail['loc'][-1] + 1} values")
    if detail["type"] == "value_error":
        return Fault(field, str(detail["ctx"]["error"]), "a possible combination")
    value = f"{detail['input']!r} ({type(detail['input']).__name__})"
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        words = re.findall(r"'([^']+)'", str(context["expected"]))
        return Fault(field, value, ", ".join(words), nearest(str(detail["input"]), words))
    return Fault(field, value, detail["msg"].removeprefix("Input should be ").removeprefix("a valid "))


def flatten(config: Config) -> Mapping[str, Any]:
    """The settings by dotted name, with values as JSON types."""
    flat: dict[str, Any] = {}
    for key, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            flat.update({f"{key}.{k}": v for k, v in value.items()})
        else:
            flat[key] = value
    return flat
