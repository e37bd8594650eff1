"""Settings read from YAML and `key=value`, with every fault reported at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from metaft.config.paths import as_on_disk, names_beside
from metaft.config.plain import ALLOWED, plain
from metaft.config.schema import Config as Config  # `metaft.config.Config` is how others call it
from metaft.config.yamlfile import DEPTH, SIZE, Document, parse_yaml, to_yaml
from metaft.errors import SHOWN, ConfigError, Fault, nearest, why
from metaft.texts import read_text, whole

NOTHING = ("", "~", "null", "Null", "NULL")  # as YAML has it
OPTIONS = "data.options."  # of which the data's format knows the types


def load(path: Path | str | None = None, overrides: Iterable[str] = ()) -> Config:
    """Defaults, then a YAML file, then `key=value` overrides, checked together.

    Args:
        path: a YAML file, or None for the embedded default.
        overrides: such as `inner.steps=7`; values are YAML, but texts, paths and options of data are what was
            typed, unless in quotes.

    Raises:
        ConfigError: with every fault of form (unknown or duplicate key, wrong type, impossible combination).
    """
    faults: list[Fault] = []
    raw = _read(as_on_disk(Path(path)), faults) if path is not None else {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            faults.append(Fault(override, "no key=value pair", "key=value, such as inner.steps=7"))
        else:
            _override(key, text, raw, faults)
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
    return to_yaml(config.model_dump(mode="json"))


def _read(path: Path, faults: list[Fault]) -> dict[str, Any]:
    try:
        text = read_text(path, SIZE)
    except (OSError, ValueError) as error:
        near = nearest(path.name, [name for name in names_beside(path) if name != path.name])
        meant = None if near is None else str(path.with_name(near))
        found, allowed = f"cannot read {path}: {why(error)}", f"a YAML file of at most {SIZE:,} bytes"
        faults.append(Fault("--config", found, allowed, meant))
        return {}
    document = parse_yaml(text, str(path), faults)
    if document is None or document.value is None:
        return {}
    if not isinstance(document.value, dict):
        faults.append(Fault(str(path), f"a {type(document.value).__name__} at the top", "a mapping of settings"))
        return {}
    return {key: _settings(key, Document(value, document.typed[key])) for key, value in document.value.items()}


def _override(key: str, text: str, raw: dict[str, Any], faults: list[Fault]) -> None:
    """Set a dotted key in `raw` to what was typed on the command line."""
    plainly = text not in NOTHING and not text.startswith(("'", '"'))
    if plainly and _is_text(key):
        _put(key, text, raw, faults)
        return
    if plainly and key.startswith(OPTIONS):
        _put(key, _option(key, text, faults), raw, faults)
        return
    document = parse_yaml(text, key, faults)
    if document is not None:
        _put(key, _settings(key, document), raw, faults)


def _option(key: str, text: str, faults: list[Fault]) -> Any:
    """An option as it was typed, but a list, a mapping or a whole number where it is written as one."""
    problems: list[Fault] = []
    document = parse_yaml(text, key, problems) if text.startswith(("[", "{")) else None
    if document is not None:
        faults += problems
        return document.value
    number = whole(text)
    return text if number is None or str(number) != text else number


def _settings(key: str, document: Document) -> Any:
    """A setting's value, or those of a group; what was typed where a setting is text and YAML makes a number of it."""
    value, typed = document.value, document.typed
    if isinstance(value, dict):
        return {name: _settings(f"{key}.{name}", Document(value[name], typed[name])) for name in value}
    if value is None or isinstance(value, str | list):
        return value
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
    """Set a dotted key in `raw` to a plain value; a mapping is merged into the group that it is for."""
    if isinstance(value, Mapping) and "." not in key and key in _sections():
        for name, inner in value.items():
            _put(f"{key}.{name}", inner, raw, faults)
        return
    try:
        value = plain(value)
        plain(key)
    except ValueError as error:
        faults.append(Fault(key, str(error), ALLOWED))
        return
    *parents, last = key.split(".", DEPTH)
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
    faults += _dropped("", raw, Config, paths)
    for section, model in sections.items():
        group = raw.get(section)
        if isinstance(group, dict):
            faults += _dropped(f"{section}.", group, model, paths)


def _dropped(prefix: str, group: dict[str, Any], model: type[BaseModel], paths: Sequence[str]) -> list[Fault]:
    """Drop the unknown keys of a group; their faults, the first of them with the nearest valid one."""
    odd = [key for key in group if key not in model.model_fields]
    for key in odd:
        del group[key]
    siblings = list(model.model_fields)
    allowed = ", ".join(siblings)
    told = [_unknown_key(prefix, key, siblings, paths) for key in odd[:SHOWN]]
    return told + [Fault(f"{prefix}{key}", "unknown key", allowed) for key in odd[SHOWN:]]


def _unknown_key(prefix: str, name: str, siblings: Sequence[str], paths: Sequence[str]) -> Fault:
    field = f"{prefix}{name}"
    sibling = nearest(name, siblings)
    elsewhere = nearest(field, paths) or next((p for p in paths if p.split(".")[-1] == name), None)
    suggestion = prefix + sibling if sibling else elsewhere
    return Fault(field, "unknown key", ", ".join(siblings), suggestion)


def _validate(raw: dict[str, Any], faults: list[Fault]) -> Config:
    """The settings; faulty values are reported, then left at their defaults until the rest is valid."""
    for _ in range(100):
        try:
            return Config.model_validate_json(json.dumps(raw), strict=True)
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
