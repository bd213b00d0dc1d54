"""The command line of a container, as the kubelet and a shell would make it. Pure, and never more than what is certain.

Words that depend on something outside of the manifest (a Secret, a command substitution) hold a mark instead of a
value: `Unresolved.of` reads it back.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SHELLS: Final = frozenset({"sh", "bash", "ash", "dash", "zsh"})
MAX_LETTERS: Final = 65_536  # of one command line; a longer one is not looked into
_DEEPEST: Final = 3  # shells within shells
# Letters of the private use area, which no shell and no kubelet gives a meaning to.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK: Final = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_KUBELET: Final = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_SHELL_VARIABLE: Final = re.compile(
    r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:\[[@*]\]|:?([-=+?])([^{}]*(?:\{[^{}]*\}[^{}]*)*))?\})"
)
_SUBSTITUTION: Final = re.compile(r"\$\(\([^()]*(?:\([^()]*\)[^()]*)*\)\)|\$\([^()]*\)|`[^`]*`")
_ARRAY: Final = re.compile(r"(?:^|(?<=[\s;&|]))([A-Za-z_]\w*)(\+?)=\(([^()]*)\)")
_SET_ARGUMENTS: Final = re.compile(r"(?:^|(?<=[\s;&|]))set\s+--([^;&|\n]*)")
_ASSIGNMENT: Final = re.compile(r"(?:^|(?<=[\s;&|(]))([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|[^\s;&|)]*)")
_ALL_ARGUMENTS: Final = re.compile(r'"\$[@*]"|"\$\{[@*]\}"|\$[@*]|\$\{[@*]\}')
_WHOLE_ARRAY: Final = re.compile(r'"(\$\{[A-Za-z_]\w*\[[@*]\]\})"')
_ONE_ARGUMENT: Final = re.compile(r"\$([0-9])|\$\{([0-9])\}")
_COMMENT: Final = re.compile(r"(?m)(?:^|(?<=\s))#.*$")
_INNER_FLAG: Final = re.compile(r"\s--?[A-Za-z]")
_JSON: Final = re.compile(r"(?:--?[\w-]+=)?\s*[\[{]")


class _TooLong(Exception):
    """With its variables put in, the line is longer than `MAX_LETTERS`."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """What a word depends on.

    Attributes:
        name: of an environment variable; empty for the output of a command.
    """

    name: str

    def __str__(self) -> str:
        return f"environment variable {self.name}" if self.name else "a command's output"

    @staticmethod
    def mark(name: str) -> str:
        """The letters that stand for it in a word."""
        return f"{_OPEN}{name}{_CLOSE}"

    @staticmethod
    def of(word: str) -> Unresolved | None:
        """The first mark of a word."""
        match = _MARK.search(word)
        return Unresolved(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What a container starts.

    Attributes:
        commands: simple commands in their order, each a tuple of words; more than one only with a shell.
        in_shell: a shell interprets the line.
        too_long: it was not looked into.
    """

    commands: tuple[tuple[str, ...], ...]
    in_shell: bool
    too_long: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """All words, in order."""
        return tuple(word for command in self.commands for word in command)

    def mentions(self, variable: str) -> bool:
        """Whether any word depends on this environment variable or at least names it."""
        return any(variable in word for word in self.words)


def command_line(container: Mapping[str, Any]) -> CommandLine:
    """The resolved command line of a container of a pod template; empty where the image alone decides."""
    try:
        return _read(container)
    except _TooLong:
        return CommandLine((), in_shell=True, too_long=True)


def _read(container: Mapping[str, Any]) -> CommandLine:
    parts = [str(part) for part in (*(container.get("command") or ()), *(container.get("args") or ()))]
    variables = _variables(container)
    open_ended = bool(container.get("envFrom"))
    resolved = [_by_kubelet(part, variables, open_ended=open_ended) for part in parts]
    if sum(map(len, resolved)) > MAX_LETTERS:
        raise _TooLong
    return _interpret(resolved, variables, _DEEPEST)


def _put_in(pattern: re.Pattern[str], value: Callable[[re.Match[str]], str], text: str) -> str:
    """Like `re.sub`, but a text that grows beyond all measure ends it."""
    room = MAX_LETTERS - len(text)

    def counted(match: re.Match[str]) -> str:
        nonlocal room
        new = value(match)
        room -= len(new) - len(match[0])
        if room < 0:
            raise _TooLong
        return new

    return pattern.sub(counted, text)


def _variables(container: Mapping[str, Any]) -> dict[str, str]:
    """Environment as far as the manifest holds it; values from elsewhere are marked."""
    variables: dict[str, str] = {}
    open_ended = bool(container.get("envFrom"))
    for entry in container.get("env") or ():
        name = str(entry.get("name", ""))
        if entry.get("valueFrom"):
            variables[name] = Unresolved.mark(name)
        else:
            variables[name] = _by_kubelet(str(entry.get("value") or ""), variables, open_ended=open_ended)
    return variables


def _by_kubelet(text: str, variables: Mapping[str, str], *, open_ended: bool) -> str:
    """``$(NAME)`` where NAME is known; ``$$`` is a dollar sign. An unknown name is left as it is."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "$"
        return variables.get(name, Unresolved.mark(name) if open_ended else match[0])

    return _put_in(_KUBELET, value, text)


def _interpret(parts: Sequence[str], variables: Mapping[str, str], depth: int) -> CommandLine:
    at = _shell_script(parts)
    if at is None or depth == 0:
        words = tuple(word for part in parts for word in _split_string(part))
        return CommandLine((words,) if words else (), in_shell=False)
    script, rest = parts[at], parts[at + 1 :]
    commands: list[tuple[str, ...]] = []
    for command in _simple_commands(_by_shell(script, rest, variables)):
        inner = _interpret(command, variables, depth - 1)
        commands += inner.commands
    return CommandLine(tuple(commands), in_shell=True)


def _shell_script(parts: Sequence[str]) -> int | None:
    """Position of the text that a shell gets by ``-c``; None without such a shell."""
    for index, part in enumerate(parts):
        if part.rsplit("/", 1)[-1] not in SHELLS:
            continue
        for later in range(index + 1, len(parts)):
            if not parts[later].startswith(("-", "+")):
                break
            if re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*", parts[later]):
                after = [i for i in range(later + 1, len(parts)) if not parts[i].startswith("-")]
                return after[0] if after else None
    return None


def _split_string(part: str) -> tuple[str, ...]:
    """A whole command line written as one text is taken for its words; other texts are one word."""
    if not _INNER_FLAG.search(part) or _JSON.match(part):
        return (part,)
    return _words(part)


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:  # an open quote
        return tuple(text.split())


def _by_shell(script: str, rest: Sequence[str], variables: Mapping[str, str]) -> str:
    """The script with arguments and variables put in."""
    text = _COMMENT.sub("", script.replace("\\\n", " "))
    text = _with_arguments(text, " ".join(map(shlex.quote, rest[1:])))
    text = _put_in(_ONE_ARGUMENT, lambda match: _argument(rest, int(match[1] or match[2])), text)
    text = _SUBSTITUTION.sub(Unresolved.mark(""), text)
    text = _WHOLE_ARRAY.sub(lambda match: match[1], text)
    known = {**variables, **_assignments(text, variables)}
    known |= _arrays(text, known)
    return _with_variables(_ARRAY.sub("", text), known)


def _with_arguments(text: str, arguments: str) -> str:
    """``"$@"`` put in: the arguments of the shell, from ``set --`` on those that it sets."""
    parts, at = [], 0
    for match in _SET_ARGUMENTS.finditer(text):
        parts.append(_filled(text[at : match.start()], arguments))
        arguments = _filled(match[1], arguments).strip()
        at = match.end()
    return "".join(parts) + _filled(text[at:], arguments)


def _filled(text: str, arguments: str) -> str:
    return _put_in(_ALL_ARGUMENTS, lambda _: arguments, text)


def _arrays(text: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Arrays that the script sets or adds to, as the words that ``${NAME[@]}`` stands for."""
    arrays: dict[str, str] = {}
    for name, adds, words in _ARRAY.findall(text):
        before = arrays.get(name, "") if adds else ""
        arrays[name] = f"{before} {_with_variables(words, {**variables, **arrays})}".strip()
    return arrays


def _argument(rest: Sequence[str], position: int) -> str:
    return shlex.quote(rest[position]) if position < len(rest) else ""


def _assignments(text: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Variables that the script itself sets; one that it sets to different values is not certain."""
    assigned: dict[str, str] = {}
    for name, raw in _ASSIGNMENT.findall(text):
        value = raw[1:-1] if raw[:1] in {'"', "'"} else raw
        value = _with_variables(value, {**variables, **assigned})
        assigned[name] = value if assigned.get(name, value) == value else Unresolved.mark(name)
    return assigned


def _with_variables(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, operator, word = match[1] or match[2], match[3], match[4] or ""
        known = variables.get(name)
        if "$" in word:
            word = _with_variables(word, variables)
        if operator == "+":
            return word if known else ""
        if known or (known is not None and operator is None):
            return known
        return word if operator in {"-", "="} else Unresolved.mark(name)

    return _put_in(_SHELL_VARIABLE, value, text)


def _simple_commands(text: str) -> list[tuple[str, ...]]:
    lexer = shlex.shlex(text.replace("\n", " ; "), posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens: Iterable[str] = list(lexer)
    except ValueError:  # an open quote
        tokens = text.split()
    commands: list[list[str]] = [[]]
    for token in tokens:
        if set(token) <= set(";&|()<>"):
            commands.append([])
        else:
            commands[-1].append(token)
    return [tuple(command) for command in commands if command]
