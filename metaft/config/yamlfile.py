"""Reading YAML 1.1 with its traps removed."""

from __future__ import annotations

import re
from typing import Any

import yaml

from metaft.errors import Fault


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-5` as a number, `no` as a word, keys as they are typed, and notes duplicate ones."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.duplicates: list[tuple[str, int]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key that is no text", problem_mark=key_node.start_mark)
            if key_node.value in seen:
                self.duplicates.append((key_node.value, key_node.start_mark.line + 1))
            seen.add(key_node.value)
        self.flatten_mapping(node)
        return {key_node.value: self.construct_object(value, deep=deep) for key_node, value in node.value}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith((":bool", ":float"))]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$", re.I), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf|\.nan)$", re.I),
    list("-+0123456789."),
)


def scalars_as_text(text: str) -> Any:
    """YAML that is known to be valid, with every scalar as it stands in the text."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def parse_yaml(text: str, where: str, problems: list[Fault]) -> Any:
    """YAML 1.1 with the traps removed; syntax faults and duplicate keys join `problems`."""
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problems.append(Fault(where, f"invalid YAML{line}: {getattr(error, 'problem', error)}", "valid YAML"))
        return None
    for key, line_number in loader.duplicates:
        problems.append(Fault(where, f"key {key!r} again in line {line_number}", "each key once"))
    return value
