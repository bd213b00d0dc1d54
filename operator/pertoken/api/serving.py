"""What a container says that its engine serves: model, parallelism, quantization, context. Pure.

Read from the command line as the kubelet and the shell make it, by the reader of `pertoken.api.launch`, then from the
variables and annotations that an engine or a platform takes in its place. What is not said is empty, never a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pertoken.api.command_line import CommandLine, Unresolved, command_line
from pertoken.api.launch import Figure, count_of, options_of
from pertoken.catalog.releases import LLM_D_SIM, SGLANG, VLLM, Release, release_of

TGI: Final = "tgi"
LLAMA_CPP: Final = "llama.cpp"
ENGINE_TYPE_LABEL: Final = "llm-d.ai/engine-type"
SOURCE_ANNOTATION: Final = "internal.serving.kserve.io/storage-initializer-sourceuri"  # of pods that KServe makes
_SOURCE: Final = re.compile(r"^(?:hf|pvc|s3|gs|oci|https?)://")

# By image name, where neither program nor release tells: other registries, and platforms that build engines in.
_IMAGES: Final = (
    (re.compile(r"text-generation-inference"), TGI),
    (re.compile(r"llama[.-]?cpp|llama-server"), LLAMA_CPP),
    (re.compile(r"sglang"), SGLANG),
    (re.compile(r"vllm|llm-d-cuda|llm-d-xpu|huggingfaceserver|llm-d-inference-sim"), VLLM),
)
_PROGRAMS: Final = {
    "vllm": VLLM,
    "sglang": SGLANG,
    LLM_D_SIM: VLLM,
    "text-generation-launcher": TGI,
    "text-generation-router": TGI,
    "llama-server": LLAMA_CPP,
}
_MODULES: Final = re.compile(r"(vllm|sglang|huggingfaceserver)(?:\.[\w.]+)?")
_MODULE_OF: Final = {"vllm": VLLM, "sglang": SGLANG, "huggingfaceserver": VLLM}


@dataclass(frozen=True, slots=True)
class _Words:
    """How an engine is told; flags in the order in which they are looked for, variables likewise.

    Attributes:
        short: short flags, and what they stand for.
    """

    model: tuple[str, ...]
    served: tuple[str, ...]
    tensor: tuple[str, ...]
    quantization: tuple[str, ...]
    context: tuple[str, ...]
    pipeline: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    expert: tuple[str, ...] = ()
    spread: tuple[str, ...] = ()
    dtype: tuple[str, ...] = ()
    short: tuple[tuple[str, str], ...] = ()


_ENGINES: Final = {
    VLLM: _Words(
        model=("--model", "--model-id"),
        served=("--served-model-name", "--model-name"),
        tensor=("--tensor-parallel-size",),
        quantization=("--quantization",),
        context=("--max-model-len",),
        pipeline=("--pipeline-parallel-size",),
        data=("--data-parallel-size",),
        spread=("--enable-expert-parallel",),
        dtype=("--dtype",),
        short=(
            *(("-tp", "--tensor-parallel-size"), ("-pp", "--pipeline-parallel-size"), ("-dp", "--data-parallel-size")),
            ("-q", "--quantization"),
        ),
    ),
    SGLANG: _Words(
        model=("--model-path", "--model"),
        served=("--served-model-name",),
        tensor=("--tp-size", "--tp", "--tensor-parallel-size"),
        quantization=("--quantization",),
        context=("--context-length",),
        pipeline=("--pp-size", "--pp", "--pipeline-parallel-size"),
        data=("--dp-size", "--dp", "--data-parallel-size"),
        expert=("--ep-size", "--ep", "--expert-parallel-size"),
        dtype=("--dtype",),
    ),
    TGI: _Words(
        model=("--model-id", "MODEL_ID"),
        served=(),
        tensor=("--num-shard", "NUM_SHARD"),
        quantization=("--quantize", "QUANTIZE"),
        context=("--max-total-tokens", "MAX_TOTAL_TOKENS"),
        dtype=("--dtype", "DTYPE"),
    ),
    LLAMA_CPP: _Words(
        model=("--hf-repo", "--model", "LLAMA_ARG_HF_REPO", "LLAMA_ARG_MODEL"),
        served=("--alias", "LLAMA_ARG_ALIAS"),
        tensor=(),
        quantization=(),
        context=("--ctx-size", "LLAMA_ARG_CTX_SIZE"),
        short=(
            *(("-hf", "--hf-repo"), ("-hfr", "--hf-repo"), ("-m", "--model")),
            *(("-a", "--alias"), ("-c", "--ctx-size")),
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Serving:
    """What a container's manifest says of its engine; None or empty where it says nothing.

    Attributes:
        engine: `vllm`, `sglang`, `tgi`, `llama.cpp`; empty where none is recognized.
        model: as the command line names it, a Hugging Face id or a path.
        model_by: flag, variable or annotation that names it.
        served_name: the first name under which it answers; empty where the model's own is meant.
        tensor, pipeline, data, expert: sizes; a figure without value depends on something outside of the manifest.
        spread: experts are spread over all GPUs of a replica.
        quantization, dtype: the flag's word.
        release: of the engine's own image; None for another image.
        open_ends: what depends on something outside of the manifest, one phrase each.
    """

    engine: str = ""
    model: str = ""
    model_by: str = ""
    served_name: str = ""
    tensor: Figure | None = None
    pipeline: Figure | None = None
    data: Figure | None = None
    expert: Figure | None = None
    spread: bool = False
    quantization: str = ""
    dtype: str = ""
    max_model_len: Figure | None = None
    release: Release | None = None
    open_ends: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Under which the engine answers: engines take the model's own where they are told none."""
        return self.served_name or self.model


NOT_READ: Final = Serving()


def read_serving(container: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> Serving:
    """Read a container of a pod template that the API server has accepted.

    Args:
        container: of the template.
        metadata: of the template, for labels and annotations of platforms.
    """
    line = command_line(container)
    metadata = metadata or {}
    engine = _engine_of(container, line, metadata.get("labels") or {})
    words = _ENGINES.get(engine)
    if words is None:
        return Serving()
    given = _Given(_told(line, words), container)
    model, model_by = given.text(words.model)
    if not model:
        model, model_by = _positional(line, container, engine), "the first argument"
    source = str((metadata.get("annotations") or {}).get(SOURCE_ANNOTATION) or "")
    if source.startswith("hf://"):
        model, model_by = source.removeprefix("hf://"), f"annotation {SOURCE_ANNOTATION}"
    return Serving(
        engine=engine,
        model=_SOURCE.sub("", model),
        model_by=model_by if model else "",
        served_name=given.text(words.served)[0],
        tensor=given.figure(words.tensor),
        pipeline=given.figure(words.pipeline),
        data=given.figure(words.data),
        expert=given.figure(words.expert),
        spread=any(flag in given.words for flag in words.spread),
        quantization=given.text(words.quantization)[0],
        dtype=given.text(words.dtype)[0],
        max_model_len=given.figure(words.context),
        release=release_of(str(container.get("image") or "")),
        open_ends=tuple(given.open_ends),
    )


class _Given:
    """What the flags and variables of one container hold; collects what cannot be told."""

    def __init__(self, words: Mapping[str, str | None], container: Mapping[str, Any]) -> None:
        self.words = dict(words)
        for entry in container.get("env") or ():
            value = Unresolved.mark(str(entry["name"])) if entry.get("valueFrom") else str(entry.get("value") or "")
            self.words.setdefault(str(entry["name"]), value)
        self.open_ends: list[str] = []

    def text(self, names: Sequence[str]) -> tuple[str, str]:
        """The first of these that is given, and its name; empty where none is, or where its value is not known."""
        for name in names:
            value = self.words.get(name)
            if not value or value.startswith("--"):
                continue
            open_end = Unresolved.of(value)
            if open_end is None:
                return value, name
            self.open_ends.append(f"{name} takes {open_end}")
            break
        return "", ""

    def figure(self, names: Sequence[str]) -> Figure | None:
        """The first of these that is given, as a count."""
        for name in names:
            if name in self.words:
                figure = count_of(name, self.words[name])
                if figure.value is None:
                    self.open_ends.append(figure.source.removeprefix("unknown: "))
                return figure
        return None


def _told(line: CommandLine, words: _Words) -> dict[str, str | None]:
    """Flags with their values, the last one of a name; those of the engine's own command where a script has several."""
    commands = [command for command in line.commands if _program(command)] or line.commands
    told: dict[str, str | None] = {}
    for command in commands:
        told |= dict(options_of(command, dict(words.short)))
    return told


def _positional(line: CommandLine, container: Mapping[str, Any], engine: str) -> str:
    """``vllm serve MODEL``; vLLM's image starts with that, so that its first argument is the model."""
    if engine != VLLM:
        return ""
    for command in line.commands:
        words = list(command)
        if "serve" in words[:-1]:
            return _plain(words[words.index("serve") + 1])
        own = not container.get("command") and release_of(str(container.get("image") or "")) is not None
        if own and not line.in_shell and "/" in words[0]:
            return _plain(words[0])
    return ""


def _plain(word: str) -> str:
    return "" if word.startswith("-") or Unresolved.of(word) else word


def _engine_of(container: Mapping[str, Any], line: CommandLine, labels: Mapping[str, Any]) -> str:
    """By the program, the engine's own image, the platform's label, the image's name: the surest first."""
    programs = [program for command in line.commands if (program := _program(command))]
    if programs:
        return programs[-1]
    release = release_of(str(container.get("image") or ""))
    if release is not None:
        return VLLM if release.engine == LLM_D_SIM else release.engine
    stated = str(labels.get(ENGINE_TYPE_LABEL) or "").lower()
    if stated in _ENGINES:
        return stated
    image = str(container.get("image") or "").lower().split("@", 1)[0]
    return next((engine for pattern, engine in _IMAGES if pattern.search(image)), "")


def _program(command: Sequence[str]) -> str:
    """The engine that a simple command runs."""
    return next(_programs(command), "")


def _programs(command: Sequence[str]) -> Iterator[str]:
    for index, word in enumerate(command):
        if word.startswith("-"):
            continue
        program = word.rsplit("/", 1)[-1]
        if program in _PROGRAMS:
            yield _PROGRAMS[program]
        module = _MODULES.fullmatch(word)
        if module and index and command[index - 1] == "-m":
            yield _MODULE_OF[module[1]]
