"""What a pod template tells about the engine that it starts: its batch cap and prefill chunk, and who set them. Pure.

A figure is taken from the command line as the kubelet and the shell make it, then from the defaults of the release.
What a file, a start script or a Secret decides stays unknown, and is said.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pertoken.api.command_line import SHELLS, CommandLine, Unresolved, command_line
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.releases import LLM_D_SIM, SGLANG, VLLM, BatchDefaults, Release, batch_defaults, release_of
from pertoken.domain.cluster import BatchCap, EngineSettings

CAP_VARIABLE: Final = "PERTOKEN_MAX_NUM_SEQS"
CHUNK_VARIABLE: Final = "PERTOKEN_MAX_NUM_BATCHED_TOKENS"
SEQUENCE_FLAGS: Final = ("--max-num-seqs", "--max-running-requests")  # vLLM and what imitates it; SGLang
ADMISSION_FLAG: Final = "--max-num-active-seqs"  # vLLM: sequences that run at most, of those that buffers are made for
TOKEN_FLAGS: Final = ("--max-num-batched-tokens", "--chunked-prefill-size")
MIXED_FLAG: Final = "--enable-mixed-chunk"  # SGLang: a step computes prompts beside the sequences that decode
CONFIG_FLAG: Final = "--config"
# Other flags of the engines: a program that is given some of them hands on what it is given.
ENGINE_FLAGS: Final = frozenset(
    {
        *(
            "--model",
            "--model-path",
            "--served-model-name",
            "--tokenizer",
            "--dtype",
            "--quantization",
            "--load-format",
        ),
        *("--max-model-len", "--context-length", "--tensor-parallel-size", "--tp-size", "--tp", "--data-parallel-size"),
        *("--pipeline-parallel-size", "--pp-size", "--gpu-memory-utilization", "--mem-fraction-static"),
        *("--kv-cache-dtype", "--trust-remote-code", "--enforce-eager", "--enable-prefix-caching", "--port", "--host"),
    }
)
RANK_FLAGS: Final = ("--data-parallel-size", "--dp-size", "--dp")
_SHORT: Final = {"-dp": "--data-parallel-size", "-tp": "--tensor-parallel-size", "-pp": "--pipeline-parallel-size"}
# With these, a default is no longer that of the table.
SHIFTING_FLAGS: Final = {
    "max_sequences": ("--performance-mode",),
    "batched_tokens": (
        *("--performance-mode", "--no-enable-chunked-prefill", "--enable-chunked-prefill"),
        *("--enable-dp-attention", "--dp-size", "--dp", "--data-parallel-size"),
    ),
}
MAX_FIGURE: Final = 10_000_000
_NUMBER: Final = re.compile(r"(\d{1,9})([kKmM]?)")
_FACTORS: Final = {"": 1, "k": 1_000, "K": 1_024, "m": 1_000_000, "M": 1_048_576}
_PROGRAMS: Final = {"vllm": VLLM, "sglang": SGLANG, "llm-d-inference-sim": LLM_D_SIM}
_MODULE: Final = re.compile(r"(vllm|sglang)(?:\.[\w.]+)?")
_PYTHON: Final = re.compile(r"(?:.*/)?python[\d.]*")
_PYTHON_OPTION: Final = re.compile(r"-[bBdEiIOPqsSuvx]+")
# A cap in code, or in the text of an environment variable: `max_num_seqs=512`, `"--max-num-seqs", "512"`.
_CAP_IN_TEXT: Final = re.compile(
    r"(?:max[-_]num[-_](?:active[-_])?seqs|max[-_]running[-_]requests)[\"']?\s*[=:,\s]\s*[\"']?(\d{1,9})\b",
    re.IGNORECASE,
)
_CAP_NAME: Final = re.compile(r"(?:[A-Z]+_)?(?:MAX_NUM_(?:ACTIVE_)?SEQS|MAX_RUNNING_REQUESTS)")
_SHOWN: Final = 40
_Options = tuple[tuple[str, ...], tuple[tuple[str, str | None], ...]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A count that a command line sets.

    Attributes:
        value: None where it is not known.
        source: where it comes from, or why it is not known.
        variable: environment variable that holds it, where the manifest does not tell the value.
    """

    value: int | None
    source: str
    variable: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a container starts its engine.

    Attributes:
        max_sequences, batched_tokens: as the command line sets them; None where it does not.
        release: the engine's own image; None for another one.
        config_file: that the command line names; empty without one.
        hidden_by: the program that decides where that is no known engine; empty otherwise.
        shifted: figures whose default something else on the command line changes, with that flag.
        reads_cap: the engine takes its batch cap from `CAP_VARIABLE`, as far as the manifest tells.
        certain: the engine itself is given that cap; where a program stands between, only the engine's own figures
            can confirm that it hands the cap on.
        named_by: environment variable that may set the cap through a program that hides it; empty without one.
        ranks: data-parallel engines that the command line asks for; 1 where it does not.
        admits: `max_sequences` is what the engine admits, apart from what it makes buffers for.
        allocated: sequences that it makes buffers for then, as the command line sets them; None where it does not.
        mixes: SGLang is told to compute prompts beside the sequences that decode, as vLLM always does.
    """

    max_sequences: Figure | None
    batched_tokens: Figure | None
    release: Release | None
    config_file: str
    hidden_by: str
    shifted: Mapping[str, str]
    reads_cap: bool
    certain: bool = True
    named_by: str = ""
    ranks: int = 1
    admits: bool = False
    allocated: Figure | None = None
    mixes: bool = False

    def settings(self, gpu: Gpu | None, cap: BatchCap | None = None, stated: Release | None = None) -> EngineSettings:
        """What the engine runs with.

        Args:
            gpu: a whole one, on which it runs; None if that is not known.
            cap: of the ConfigMap that the engine reads it from.
            stated: the release that the user states; it counts more than the image's.
        """
        if stated is not None:
            return replace(self, release=stated).settings(gpu, cap)
        row = None if self.release is None else batch_defaults(self.release, gpu)
        sequences = self._figure("max_sequences", self.max_sequences, row)
        tokens = self._figure("batched_tokens", self.batched_tokens, row)
        if self.reads_cap:
            source = "pertoken's ConfigMap"
            if cap is None:
                source = f"unknown: {CAP_VARIABLE} is in no ConfigMap of pertoken's"
            elif cap.foreign:
                source = cap.foreign
            sequences = Figure(None if cap is None else cap.value, source)
        if self.reads_chunk:
            tokens = Figure(None, f"unknown: {CHUNK_VARIABLE} is in no ConfigMap of pertoken's")
            if cap is not None and cap.chunk is not None:
                tokens = Figure(cap.chunk, "pertoken's ConfigMap")
        reads_chunk = self.reads_chunk and tokens.value is not None
        allocated = self._figure("max_sequences", self.allocated, row).value if self.admits else None
        return EngineSettings(
            sequences.value,
            tokens.value,
            sequences.source,
            tokens.source,
            self.ranks,
            reads_chunk,
            allocated,
            self.mixes,
        )

    @property
    def reads_chunk(self) -> bool:
        """The engine is given its tokens per step from `CHUNK_VARIABLE`."""
        return self.batched_tokens is not None and self.batched_tokens.variable == CHUNK_VARIABLE

    def _figure(self, name: str, given: Figure | None, row: BatchDefaults | None) -> Figure:
        if given is not None:
            return given
        obstacle = self._obstacle(name)
        if obstacle:
            return _unknown(obstacle)
        default = None if row is None else row.max_sequences if name == "max_sequences" else row.batched_tokens
        if default is None:
            return _unknown(f"no default of {self.release} is known here")
        return Figure(default, f"default of {self.release}")

    def _obstacle(self, name: str) -> str:
        """Why a figure that is not on the command line is not the release's default; empty if it is."""
        if self.config_file:
            return f"the file {_short(self.config_file)} may set it"
        if self.hidden_by:
            named = f" (environment variable {_short(self.named_by)} names a cap)" if self.named_by else ""
            return f"{_short(self.hidden_by)} decides{named if name == 'max_sequences' else ''}"
        if self.release is None:
            return "the image is no engine's own"
        return f"{self.shifted[name]} changes the default of {self.release}" if name in self.shifted else ""


def read_launch(container: Mapping[str, Any]) -> Launch:
    """Read a container of a pod template that the API server has accepted."""
    line = command_line(container)
    release = release_of(str(container.get("image") or ""))
    options = [(command, tuple(options_of(command))) for command in line.commands]
    allocated, admitted = _last_of(options, SEQUENCE_FLAGS), _last_of(options, (ADMISSION_FLAG,))
    sequences = admitted or allocated or _in_code(line)
    hidden_by = _hidden_by(container, line, release)
    reads_cap = _reads_cap(container, line, sequences, hidden_by)
    return Launch(
        max_sequences=sequences,
        batched_tokens=_last_of(options, TOKEN_FLAGS),
        release=release,
        config_file=next((_text(value) for _, given in options for flag, value in given if flag == CONFIG_FLAG), ""),
        hidden_by=hidden_by,
        shifted={
            name: flag_given
            for name, flags in SHIFTING_FLAGS.items()
            if (flag_given := next((flag for _, given in options for flag, _ in given if flag in flags), ""))
        },
        reads_cap=reads_cap,
        certain=not reads_cap or not hidden_by or (sequences is not None and _hands_on(options)),
        named_by=_named_by(container) if hidden_by and not _hands_on(options) else "",
        ranks=_ranks(options),
        admits=admitted is not None,
        allocated=None if admitted is None else allocated,
        mixes=sets(line, MIXED_FLAG),
    )


def sets(line: CommandLine, flag: str) -> bool:
    """Whether the flag is given, with ``=`` or without, dashes or underscores alike (vLLM takes both)."""
    return any(given == flag for command in line.commands for given, _ in options_of(command))


def options_of(command: tuple[str, ...], short: Mapping[str, str] = _SHORT) -> Iterator[tuple[str, str | None]]:
    """Flags in dashes with what follows them.

    Args:
        command: a simple command.
        short: short flags of the engine and what they stand for.
    """
    for index, word in enumerate(command):
        name, given, value = word.partition("=")
        name = short.get(name, name)
        if not name.startswith("--"):
            continue
        following = command[index + 1] if index + 1 < len(command) else None
        yield name.replace("_", "-"), value if given else following


def _last_of(options: list[_Options], flags: tuple[str, ...]) -> Figure | None:
    """The last one given holds; engines that differ (branches of a script) leave it open."""
    figures: list[Figure | None] = []
    for command, given in options:
        here = [count_of(flag, value) for flag, value in given if flag in flags]
        if here or _engine_of(command):
            figures.append(here[-1] if here else None)
    if all(figure is None for figure in figures):
        return None
    if any(figure != figures[0] for figure in figures):
        return _unknown("the start script sets it to different values")
    return figures[-1]


def count_of(flag: str, text: str | None) -> Figure:
    """The count that a flag is given, with the engines' suffixes (``8k`` is 8,000, ``8K`` 8,192); or why it is none."""
    if text is None:
        return _unknown(f"{flag} has no value")
    open_end = Unresolved.of(text)
    if open_end is not None:
        return Figure(None, f"unknown: {flag} takes {_short(str(open_end))}", open_end.name)
    match = _NUMBER.fullmatch(text.strip())
    value = int(match[1]) * _FACTORS[match[2]] if match else 0
    if not 0 < value <= MAX_FIGURE:
        return _unknown(f"{flag} is {_short(text)}, no count")
    return Figure(value, f"argument {flag}")


def _hidden_by(container: Mapping[str, Any], line: CommandLine, release: Release | None) -> str:
    """What stands between the manifest and the engine, so that a flag that is not there may still be given."""
    if line.too_long:
        return "a line too long to be read"
    if not container.get("command"):  # the image's own entry point, which the engines' own images make the engine
        return "" if release or _engines(line) else "the image's entry point"
    if _engines(line):
        return ""
    first = next((word for word in line.words if word.rsplit("/", 1)[-1] not in SHELLS), "the command")
    return _text(first)


def _engines(line: CommandLine) -> list[str]:
    return [engine for command in line.commands if (engine := _engine_of(command))]


def is_engine(command: tuple[str, ...]) -> bool:
    """Whether a simple command runs a known engine."""
    return bool(_engine_of(command))


def _engine_of(command: tuple[str, ...]) -> str:
    """The engine that a simple command runs: ``vllm serve``, ``python -m sglang.launch_server``, and the like."""
    for index, word in enumerate(command):
        if word.startswith("-"):
            continue
        program = word.rsplit("/", 1)[-1]
        if program in _PROGRAMS:
            return _PROGRAMS[program]
        if _PYTHON.fullmatch(word):
            rest = tuple(itertools.dropwhile(_PYTHON_OPTION.fullmatch, command[index + 1 :]))
            module = _MODULE.fullmatch("".join(rest[1:2])) if rest[:1] == ("-m",) else None
            if rest[:1] == ("-m",):
                return _PROGRAMS[module[1]] if module else ""
    return ""


def is_code(command: tuple[str, ...]) -> bool:
    """``python -c``: what follows is a program, which does with further arguments what it likes."""
    return any(_PYTHON.fullmatch(word) and "-c" in command[index + 1 :] for index, word in enumerate(command))


def _in_code(line: CommandLine) -> Figure | None:
    """A cap that the text of ``python -c`` sets; unknown where it sets several."""
    text = " ".join(word for command in line.commands if is_code(command) for word in command)
    values = {int(value) for value in _CAP_IN_TEXT.findall(text)}
    if not values:
        return None
    [value, *others] = values
    if others or not 0 < value <= MAX_FIGURE:
        return _unknown("the code of python -c names several caps, or one that is none")
    return Figure(value, "the code of python -c")


def _hands_on(options: list[_Options]) -> bool:
    """A command is given flags of an engine by the user: it passes on what it is given, or is one."""
    return any(flag in ENGINE_FLAGS for _, given in options for flag, _ in given)


def _named_by(container: Mapping[str, Any]) -> str:
    """An environment variable that names a cap of the user's own: ``MAX_NUM_SEQS``, ``VLLM_ARGS`` with the flag."""
    for entry in container.get("env") or ():
        name, value = str(entry.get("name", "")), str(entry.get("value") or "")
        if (
            name != CAP_VARIABLE
            and CAP_VARIABLE not in value
            and (_CAP_NAME.fullmatch(name) or _CAP_IN_TEXT.search(value))
        ):
            return name
    return ""


def _ranks(options: list[_Options]) -> int:
    figure = _last_of(options, RANK_FLAGS)
    return 1 if figure is None or figure.value is None else figure.value


def _reads_cap(container: Mapping[str, Any], line: CommandLine, sequences: Figure | None, hidden_by: str) -> bool:
    """The last value decides. Where a program hides the flag, naming the variable is taken for reading it."""
    if sequences is not None:
        return sequences.variable == CAP_VARIABLE
    given = any(entry.get("name") == CAP_VARIABLE for entry in container.get("env") or ())
    if not hidden_by:
        return False
    return given or line.mentions(CAP_VARIABLE)


def _unknown(why: str) -> Figure:
    return Figure(None, f"unknown: {why}")


def _text(word: str | None) -> str:
    mark = Unresolved.of(word or "")
    return str(mark) if mark else word or "(no name)"


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"
