"""Manifest files as users write them: several documents, each field with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from pertoken.api.errors import FieldError

Json = dict[str, Any]
MOST_LEVELS: Final = 100
MOST_VALUES: Final = 200_000  # of one document; an anchor counts as often as it is used
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class _Loader(yaml.SafeLoader):
    """YAML as kubectl reads it: times stay text. Depth is limited: composing goes down by recursion."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One value, with those inside it."""
        if self._depth > MOST_LEVELS:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"nested more than {MOST_LEVELS} levels deep", problem_mark=mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """A number; one that Python does not read (5,000 digits, a bare ``0x``) stays text: its field is told."""
        try:
            return _NUMBERS[node.tag](self, node)
        except (ValueError, OverflowError):
            return self.construct_scalar(node)


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NUMBERS: Final = {_INT: yaml.SafeLoader.construct_yaml_int, _FLOAT: yaml.SafeLoader.construct_yaml_float}
for _tag in _NUMBERS:
    _Loader.add_constructor(_tag, _Loader.construct_number)
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
class NotYaml:
    """Text that is no YAML."""

    file: str
    line: int
    why: str


def read_documents(file: str, text: str) -> list[Document | NotYaml]:
    """All objects of a text; items of a v1 List one by one, empty documents left out."""
    documents: list[Document | NotYaml] = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            if node is None or _is_empty(node):
                continue
            wrong = _size_error(node)
            if wrong:
                documents.append(NotYaml(file, _first_line(node), f"no valid manifest: {wrong}"))
                continue
            documents.extend(_constructed(file, node, loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        documents.append(NotYaml(file, mark.line + 1 if mark else 1, f"no valid YAML: {' '.join(problem.split())}"))
    return documents


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _constructed(file: str, node: yaml.Node, loader: _Loader) -> Iterator[Document | NotYaml]:
    try:
        obj = loader.construct_document(node)
    except yaml.YAMLError:
        raise
    except (ValueError, TypeError, AttributeError, OverflowError):  # PyYAML on a tag that its value does not fit
        yield NotYaml(file, _first_line(node), "no valid manifest: a tagged value cannot be read")
        return
    yield from _items(file, node, obj, tuple(_duplicates(node, "")))


def _size_error(node: yaml.Node) -> str:
    """What forbids to walk through a document: a value that contains itself, or anchors that multiply it."""
    sizes: dict[int, int] = {}
    try:
        return "" if _size(node, frozenset(), sizes) <= MOST_VALUES else f"more than {MOST_VALUES:,} values"
    except _AliasLoop:
        return "a value contains itself"


class _AliasLoop(Exception):
    """An anchor stands inside its own value."""


def _size(node: yaml.Node, around: frozenset[int], known: dict[int, int]) -> int:
    """Values in a node, each anchor counted at every place where it is used but walked only once."""
    if id(node) in around:
        raise _AliasLoop
    if id(node) not in known:
        inside = around | {id(node)}
        children: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_size(child, inside, known) for child in children)
    return known[id(node)]


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
            if not isinstance(key, yaml.ScalarNode):
                continue  # no key that a manifest can have; constructing the document has refused it
            here = f"{path}.{key.value}" if path else str(key.value)
            if key.value in seen and key.value != "<<":
                shown = value.value if isinstance(value, yaml.ScalarNode) else None
                yield FieldError(here, shown, f"once: {key.value} is given twice")
            seen.add(key.value)
            yield from _duplicates(value, here)
