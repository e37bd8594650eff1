"""Reading YAML 1.1 with its traps removed: plain values alone, of a bounded size.

Plain values are maps with keys of text, lists, text, truth values, null, and numbers in decimal notation; `no`,
`12:30`, `1_000`, `010` and `2024-01-01` are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from metaft.errors import Fault
from metaft.texts import half_letter

SIZE = 2**20  # letters of a document
VALUES = 20_000  # in it, where those that an alias stands for count each time
DEPTH = 32  # of maps and lists in each other
DIGITS = 100  # of a whole number

_CORE = "tag:yaml.org,2002:"
_MERGE, _TEXT, _MAP, _LIST = (f"{_CORE}{kind}" for kind in ("merge", "str", "map", "seq"))


@dataclass(frozen=True)
class Kind:
    """A kind of scalars: how they are written, and the value of such a text."""

    written: re.Pattern[str]
    first: str  # what they can begin with
    value: Callable[[str], Any]


# As YAML 1.2 writes them; 1.1 takes 1e-5 for text, and much that is text for numbers, truth values and dates.
KINDS = {
    f"{_CORE}null": Kind(re.compile(r"~|null|Null|NULL|"), "~nN", lambda text: None),
    f"{_CORE}bool": Kind(re.compile(r"true|false", re.I), "tTfF", lambda text: text.lower() == "true"),
    f"{_CORE}int": Kind(re.compile(r"[-+]?(0|[1-9][0-9]*)"), "-+0123456789", int),
    f"{_CORE}float": Kind(
        re.compile(r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf)|\.nan", re.I),
        "-+.0123456789",
        lambda text: float(re.sub(r"\.(?=[in])", "", text.lower())),
    ),
}


@dataclass(frozen=True)
class Document:
    """What a text in YAML says, and the same with every scalar as it stands in the text."""

    value: Any = None
    typed: Any = None


class _Loader(yaml.SafeLoader):
    """Composes nodes, no more and no deeper than the limits."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (as its parent has it)

    def __init__(self, stream: str) -> None:
        self._nodes = self._depth = 0
        super().__init__(stream)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node with those in it."""
        self._nodes, self._depth = self._nodes + 1, self._depth + 1
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        _refuse_beyond(self._nodes, self._depth, event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes where it would be read as something else, here or by readers of YAML 1.1."""


for _tag, _kind in KINDS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            _tag, re.compile(f"^(?:{_kind.written.pattern})$", _kind.written.flags), list(_kind.first)
        )
_Loader.add_implicit_resolver(f"{_CORE}null", re.compile("^$"), [""])
_Loader.add_implicit_resolver(_MERGE, re.compile("^<<$"), ["<"])


class _Plain:
    """The plain values of nodes, with the faults that leave a value; others raise a MarkedYAMLError."""

    def __init__(self) -> None:
        self.repeated: list[tuple[str, int]] = []  # keys, and the lines in which they come again
        self._values = 0

    def of(self, node: yaml.Node, depth: int = 1) -> Document:
        """The value of a node."""
        self._values += 1
        _refuse_beyond(self._values, depth, node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if node.tag == _LIST and isinstance(node, yaml.SequenceNode):
            items = [self.of(item, depth + 1) for item in node.value]
            return Document([item.value for item in items], [item.typed for item in items])
        if node.tag == _MAP and isinstance(node, yaml.MappingNode):
            inner = {key: self.of(value, depth + 1) for key, value in self._pairs(node, depth).items()}
            return Document({k: v.value for k, v in inner.items()}, {k: v.typed for k, v in inner.items()})
        raise _of_tag(node)

    def _scalar(self, node: yaml.ScalarNode) -> Document:
        text: str = node.value
        odd = half_letter(text)
        if odd is not None:
            raise yaml.MarkedYAMLError(problem=f"half a letter ({odd!a})", problem_mark=node.start_mark)
        if node.tag in (_TEXT, _MERGE):
            return Document(text, text)
        kind = KINDS.get(node.tag)
        if kind is None or not kind.written.fullmatch(text):
            raise _of_tag(node)
        if kind.value is int and len(text) > DIGITS:
            found = f"a whole number of {len(text)} digits (allowed: at most {DIGITS})"
            raise yaml.MarkedYAMLError(problem=found, problem_mark=node.start_mark)
        return Document(kind.value(text), text)

    def _pairs(self, node: yaml.MappingNode, depth: int) -> dict[str, yaml.Node]:
        """The nodes of a map by their keys, those that `<<` brings in first, which its own replace."""
        _refuse_beyond(self._values, depth, node.start_mark)
        merged: dict[str, yaml.Node] = {}
        own: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key that is no text", problem_mark=key_node.start_mark)
            if key_node.tag == _MERGE:
                merged = {**self._merged(value, depth), **merged}
                continue
            key = self._scalar(key_node).typed
            if key in own:
                self.repeated.append((key, key_node.start_mark.line + 1))
            own[key] = value
        return {**merged, **own}

    def _merged(self, node: yaml.Node, depth: int) -> dict[str, yaml.Node]:
        """What a map or a list of them brings into another, the first that has a key before later ones."""
        maps = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, yaml.Node] = {}
        for each in maps:
            if not isinstance(each, yaml.MappingNode):
                raise yaml.MarkedYAMLError(problem="<< with what is no map", problem_mark=node.start_mark)
            self._values += 1 + len(each.value)
            merged = {**self._pairs(each, depth + 1), **merged}
        return merged


def _refuse_beyond(values: int, depth: int, mark: Any) -> None:
    """Refuse more values, or deeper ones, than the limits."""
    if values > VALUES:
        raise yaml.MarkedYAMLError(problem=f"more than {VALUES:,} values", problem_mark=mark)
    if depth > DEPTH:
        problem = f"nested more than {DEPTH} deep, or an anchor that holds itself"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _of_tag(node: yaml.Node) -> yaml.MarkedYAMLError:
    """The fault of a value that is not what its tag says, or whose tag is none of a plain value."""
    tag = node.tag.replace(_CORE, "!!")
    return yaml.MarkedYAMLError(problem=f"the tag {tag} of what is no such plain value", problem_mark=node.start_mark)


def parse_yaml(text: str, where: str, problems: list[Fault]) -> Document | None:
    """The plain values of a text, None where it has none; what is wrong with it joins `problems`."""
    allowed = "valid YAML of plain values"
    if len(text) > SIZE:
        problems.append(Fault(where, f"{len(text):,} letters", f"at most {SIZE:,}"))
        return None
    plain = _Plain()
    try:
        node = _Loader(text).get_single_node()
        document = Document() if node is None else plain.of(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"invalid YAML in line {line}: the letter {chr(error.character)!a}"
        problems.append(Fault(where, found, allowed))
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line_of = f" in line {mark.line + 1}" if mark else ""
        problems.append(Fault(where, f"invalid YAML{line_of}: {error.problem}", allowed))
        return None
    except (ValueError, OverflowError) as error:  # PyYAML of numbers in escapes and directives
        problems.append(Fault(where, f"invalid YAML: {error}", allowed))
        return None
    problems += [Fault(where, f"key {key!r} again in line {line}", "each key once") for key, line in plain.repeated]
    return document


def to_yaml(document: Mapping[str, Any]) -> str:
    """A document in YAML that is read back to the same values."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False))
