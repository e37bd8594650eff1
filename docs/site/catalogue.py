"""docs/catalogue.md from the registries and the settings' own source: `python docs/site/catalogue.py` writes it."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel

from metaft import config
from metaft.listings import LISTS
from metaft.report.tables import markdown

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "catalogue.md"
SOURCES = [ROOT / "metaft" / "config" / f"{name}.py" for name in ("schema", "searching", "section")]
TITLES = {
    "methods": "Methods",
    "terms": "Terms of an objective",
    "datasets": "Data",
    "estimators": "Estimators of hypergradients",
    "executors": "Executors",
}
NAMES = {"boolean": "true, false", "string": "text", "array": "a list", "object": "a mapping", "null": "null"}
EXIT_CODES = (
    ("0", "done"),
    ("2", "a fault in the settings or the command line"),
    ("3", "data or checkpoint missing, unreadable or inconsistent"),
    ("4", "something diverged; or a run that is made again came to something else"),
    ("130", "interrupted; the command to go on is printed"),
)


class Section(NamedTuple):
    """A class of settings: what it is for, what it inherits from, and its fields with their comments."""

    text: str
    bases: tuple[str, ...]
    comments: dict[str, str]


def sections() -> dict[str, Section]:
    """The classes of settings by name."""
    return {name: section for path in SOURCES for name, section in _classes(path)}


def _classes(path: Path) -> Iterator[tuple[str, Section]]:
    source = path.read_text(encoding="utf-8")
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            fields = [
                item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            ]
            said = {item.target.id: _said(item, comments) for item in fields if isinstance(item.target, ast.Name)}
            bases = tuple(base.id for base in node.bases if isinstance(base, ast.Name))
            yield node.name, Section(ast.get_docstring(node) or "", bases, said)


def _said(item: ast.AnnAssign, comments: dict[int, str]) -> str:
    """The comment beside a field, on whichever of its lines."""
    return " ".join(
        comments[line] for line in range(item.lineno, (item.end_lineno or item.lineno) + 1) if line in comments
    )


def comment_on(name: str, field: str, known: dict[str, Section]) -> str:
    """What the source says beside a field, in its class or in one that this inherits from."""
    section = known.get(name, Section("", (), {}))
    return section.comments.get(field) or "".join(comment_on(base, field, known) for base in section.bases)


def settings() -> str:
    """All settings by section, with their defaults, what is allowed, and what the source says of them."""
    cfg, known = config.load(), sections()
    kinds = {name: type(value) for name in type(cfg).model_fields if isinstance(value := getattr(cfg, name), BaseModel)}
    parts = [_table("", cfg, [name for name in type(cfg).model_fields if name not in kinds], known)]
    for name, kind in kinds.items():
        parts.append(f"### {name}\n\n{known[kind.__name__].text.splitlines()[0]}")
        parts.append(_table(f"{name}.", getattr(cfg, name), list(kind.model_fields), known))
    return "\n\n".join(parts)


def _table(start: str, section: BaseModel, fields: list[str], known: dict[str, Section]) -> str:
    kind, values = type(section), section.model_dump(mode="json")
    schema = kind.model_json_schema()["properties"]
    rows = [
        [f"`{start}{f}`", f"`{_in_yaml(values[f])}`", _allowed(schema[f]), comment_on(kind.__name__, f, known)]
        for f in fields
    ]
    return markdown(["setting", "default", "allowed", "what"], rows, numbers=False).rstrip()


def _in_yaml(value: object) -> str:
    """A value on a line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("\n...\n").strip()


def _allowed(schema: dict[str, Any]) -> str:
    """What a field may be, in words: choices, a range, a type."""
    if "anyOf" in schema:
        return ", or ".join(filter(None, map(_allowed, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return ", ".join(map(_in_yaml, schema.get("enum", [schema.get("const")])))
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    bounds = (("", low), ("above ", above), ("to ", high), ("below ", below))
    words = [f"{word}{bound:,.10g}" for word, bound in bounds if bound is not None]
    whole = "whole, " if schema.get("type") == "integer" else ""
    return whole + " ".join(words) if words else NAMES.get(schema.get("type", ""), "")


def page() -> str:
    """The page."""
    lists = "\n\n".join(f"## {title}\n\n{LISTS[name]().rstrip()}" for name, title in TITLES.items())
    codes = markdown(["exit code", "meaning"], [list(row) for row in EXIT_CODES], numbers=False).rstrip()
    return (
        "# Catalogue\n\nMade from the registries by `python docs/site/catalogue.py`; what is not here is not there.\n\n"
        f"{lists}\n\n## Settings\n\nIn a YAML file, or as `key=value` on the command line.\n\n{settings()}\n\n"
        f"## Exit codes\n\n{codes}\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
