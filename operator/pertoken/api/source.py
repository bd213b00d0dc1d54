"""Manifest files as users write them: several documents, each field with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from pertoken.api.errors import FieldError

Json = dict[str, Any]
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class _Loader(yaml.SafeLoader):
    """YAML as kubectl reads it: times stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file.

    Attributes:
        file: name of the file, for messages.
        obj: the parsed object; an empty mapping when the document is something else.
        node: where in the text each field stands.
        duplicates: keys that are given twice in one mapping; YAML would silently take the last.
    """

    file: str
    obj: Json
    node: yaml.Node
    duplicates: tuple[FieldError, ...] = ()

    @property
    def title(self) -> str:
        """Kind namespace/name."""
        metadata = self.obj.get("metadata")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        name = str(metadata.get("name") or "(no name)")
        if metadata.get("namespace"):
            name = f"{metadata['namespace']}/{name}"
        return f"{self.obj.get('kind') or '(no kind)'} {name}"

    def line(self, path: str = "") -> int:
        """Line of a field, or of the nearest field around it that is there; counted from 1."""
        node: yaml.Node = self.node
        line = _first_line(node)
        for name, index in _STEP.findall(path):
            key, child = _child(node, name, index)
            if child is None:
                break
            node = child
            line = (key or node).start_mark.line + 1
        return line


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Text that is no YAML."""

    file: str
    line: int
    why: str


def read_documents(file: str, text: str) -> list[Document | Unreadable]:
    """All objects of a text; items of a v1 List one by one, empty documents left out."""
    found: list[Document | Unreadable] = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            if node is None or _is_empty(node):
                continue
            if _is_cyclic(node, frozenset()):
                found.append(Unreadable(file, _first_line(node), "no valid manifest: a value contains itself"))
                continue
            duplicates = tuple(_duplicates(node, ""))
            found.extend(_items(file, node, loader.construct_document(node), duplicates))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        found.append(Unreadable(file, mark.line + 1 if mark else 1, f"no valid YAML: {' '.join(problem.split())}"))
    return found


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _is_cyclic(node: yaml.Node, around: frozenset[int]) -> bool:
    if id(node) in around:
        return True
    inside = around | {id(node)}
    if isinstance(node, yaml.SequenceNode):
        return any(_is_cyclic(item, inside) for item in node.value)
    if isinstance(node, yaml.MappingNode):
        return any(_is_cyclic(value, inside) for _, value in node.value)
    return False


def _items(file: str, node: yaml.Node, obj: Any, duplicates: tuple[FieldError, ...]) -> Iterator[Document]:
    if isinstance(obj, dict) and obj.get("kind") == "List" and isinstance(obj.get("items"), list):
        _, items = _child(node, "items", "")
        if isinstance(items, yaml.SequenceNode):
            for item, child in zip(obj["items"], items.value, strict=True):
                yield Document(file, item if isinstance(item, dict) else {}, child, tuple(_duplicates(child, "")))
            return
    yield Document(file, obj if isinstance(obj, dict) else {}, node, duplicates)


def _first_line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _child(node: yaml.Node, name: str, index: str) -> tuple[yaml.Node | None, yaml.Node | None]:
    if index and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
        return None, node.value[int(index)]
    if name and isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name:
                return key, value
    return None, None


def _duplicates(node: yaml.Node, path: str) -> Iterator[FieldError]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _duplicates(item, f"{path}[{index}]")
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            here = f"{path}.{key.value}" if path else str(key.value)
            if key.value in seen and key.value != "<<":
                shown = value.value if isinstance(value, yaml.ScalarNode) else None
                yield FieldError(here, shown, f"once: {key.value} is given twice")
            seen.add(key.value)
            yield from _duplicates(value, here)
