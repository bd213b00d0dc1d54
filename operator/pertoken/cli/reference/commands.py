"""`docs/reference/commands.md`: the command line, from the commands' own declarations."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import typer

from pertoken.cli.main import app
from pertoken.cli.reference.markdown import table

_HEAD: Final = """\
# The command line

`pertoken COMMAND --help` says the same. As `kubectl-pertoken` on the path the commands are `kubectl pertoken COMMAND`.

"""
_KINDS: Final[dict[Any, str]] = {int: "whole number", float: "number", Path: "path"}
_HIDDEN: Final = frozenset({"--help", "--install-completion", "--show-completion"})


def commands_page() -> str:
    """A heading, a sentence and the parameters of every command."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("pertoken", [], resilient_parsing=True)
    return _HEAD + "\n".join(
        part for name in group.list_commands(context) for part in _command(name, group.get_command(context, name))
    )


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## pertoken {name}\n"
    yield f"{_text(command.help)}\n"
    rows = [row for parameter in command.params if (row := _parameter(parameter)) is not None]
    if rows:
        yield table(("parameter", "value", "default", "meaning"), rows)


def _parameter(parameter: Any) -> tuple[str, str, str, str] | None:
    names = [*parameter.opts, *parameter.secondary_opts]
    if getattr(parameter, "hidden", False) or _HIDDEN & set(names):
        return None
    argument = parameter.param_type_name == "argument"
    shown = (
        f"`{(parameter.metavar or parameter.name or '').upper()}`" if argument else ", ".join(f"`{n}`" for n in names)
    )
    return shown, _kind(parameter), _default(parameter), _text(getattr(parameter, "help", "") or "")


def _kind(parameter: Any) -> str:
    """What may be given: a kind of value, or the words to choose from."""
    if getattr(parameter, "is_flag", False):
        return ""
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{choice.value}`" for choice in kind)
    return _KINDS.get(kind, "text")


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or callable(value) or value in ("", (), [], False):
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _text(text: str) -> str:
    """Help as one paragraph, without typer's marks for line breaks."""
    return " ".join(text.replace("\b", "").split())
