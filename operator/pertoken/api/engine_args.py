"""What pertoken adds to the engine container of an owned workload: batch cap, histogram edges, port."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from pertoken.api.command_line import CommandLine, command_line
from pertoken.api.errors import FieldError
from pertoken.api.launch import (
    ADMISSION_FLAG,
    CAP_VARIABLE,
    CHUNK_VARIABLE,
    MIXED_FLAG,
    is_code,
    is_engine,
    read_launch,
    sets,
)
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.releases import VLLM, Version, release_of, stated_release
from pertoken.domain.service import Batching, BatchingMode, EngineKind, LatencyObjective

Json = dict[str, Any]

CAP_REFERENCE: Final = f"$({CAP_VARIABLE})"
_PROBE: Final = "--pertoken-probe"  # an argument of which is asked where it would get to
_NO_NAME: Final = "engine"  # what `sh -c` takes for its own name, so that the arguments after it are arguments
CAP_FLAG: Final = {EngineKind.VLLM: "--max-num-seqs", EngineKind.SGLANG: "--max-running-requests"}
TOKENS_FLAG: Final = {EngineKind.VLLM: "--max-num-batched-tokens", EngineKind.SGLANG: "--chunked-prefill-size"}
# vLLM#56758, released with 0.31.0: how many sequences run, apart from how many buffers and CUDA graphs are made for.
ADMISSION_SINCE: Final = (0, 31, 0)
DEFAULT_PORT: Final = {EngineKind.VLLM: 8000, EngineKind.SGLANG: 30000}  # of `vllm serve` and `sglang.launch_server`
BATCHED_TOKENS_FLAG: Final = "--max-num-batched-tokens"

# vLLM's production metrics documentation, "Custom Histogram Buckets": a JSON object, family key -> increasing edges in
# seconds. `inter_token_latency` sets the edges of inter_token_latency and of request_time_per_output_token. The flag
# came with 0.30.1; an older engine refuses to start with it.
BUCKETS_FLAG: Final = "--custom-histogram-buckets"
BUCKETS_SINCE: Final = (0, 31, 0)
# Default edges of vLLM 0.32 in seconds, read from its metrics page.
TTFT_EDGES: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
INTER_TOKEN_EDGES: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)


@dataclass(frozen=True, slots=True)
class Additions:
    """What decides about the additions.

    Attributes:
        cap_config_map: name of the ConfigMap that holds the cap.
        path: of the container in the manifest, for errors.
        engine_version: as the user states it; empty where the image is to tell.
        gpu: on which it will run; None where that is not known.
        chunk: the engine may be given its prefill chunk by pertoken.
        admission: the cap may be what the engine admits, apart from what it makes buffers for.
    """

    engine: EngineKind
    batching: Batching
    latency: LatencyObjective
    cap_config_map: str
    path: str
    engine_version: str = ""
    gpu: Gpu | None = None
    chunk: bool = True
    admission: bool = True


@dataclass(frozen=True, slots=True)
class EngineContainer:
    """The container with its additions.

    Attributes:
        reads_cap: the engine reads its batch cap from pertoken's ConfigMap.
        port: on which it serves.
        chunk: tokens per step that the ConfigMap has to hold at first; None where the engine reads none from it.
        allocated: sequences that it makes buffers for, apart from the cap; None where the cap decides that, too.
    """

    container: Json
    reads_cap: bool
    port: int
    chunk: int | None = None
    allocated: int | None = None


def complete_container(container: Json, settings: Additions) -> EngineContainer | tuple[FieldError, ...]:
    """The engine container with cap, histogram edges and a port named http; or what is in the way. Pure."""
    errors: list[FieldError] = []
    args = [*container.get("args", [])]
    env = [*container.get("env", [])]
    form = _Form(command_line({**container, "env": [*env, _variable(CAP_VARIABLE, settings)]}), way_in(container))
    more: list[str] = []
    reads_cap = _cap_args(more, container, form, settings, errors)
    chunk = _first_chunk(container, form, settings) if reads_cap else None
    if reads_cap:
        _variable_env(env, CAP_VARIABLE, settings, errors)
    if chunk is not None:
        _variable_env(env, CHUNK_VARIABLE, settings, errors)
        more.append(f"{TOKENS_FLAG[settings.engine]}=$({CHUNK_VARIABLE})")
    else:
        _batched_tokens(more, form, settings, errors)
    if _takes_buckets(container, form, settings):
        more += [BUCKETS_FLAG, histogram_buckets(settings.latency)]
    if more:
        args += [*(form.way_in or ()), *more]
    ports = _ports(container, settings, errors)
    if errors:
        return tuple(errors)
    done = {**container, "ports": ports}
    if args:
        done["args"] = args
    if env:
        done["env"] = env
    admits = any(argument.startswith(f"{ADMISSION_FLAG}=") for argument in more)
    allocated = settings.batching.max_sequences if admits else None
    return EngineContainer(done, reads_cap, int(ports[0]["containerPort"]), chunk, allocated)


@dataclass(frozen=True, slots=True)
class _Form:
    """How the container is started.

    Attributes:
        line: its resolved command line.
        way_in: see `way_in`.
    """

    line: CommandLine
    way_in: tuple[str, ...] | None


def way_in(container: Json) -> tuple[str, ...] | None:
    """What has to stand before arguments that are added at the end, so that they reach the engine; None if none do.

    Nothing as a rule. ``sh -c '… "$@"'`` takes the first argument for its own name, so that it needs one. The script of
    ``sh -c`` without ``"$@"`` and the code of ``python -c`` pass nothing on.
    """
    args = container.get("args", [])
    for before in ((), (_NO_NAME,)):
        line = command_line({**container, "args": [*args, *before, _PROBE]})
        engines = [command for command in line.commands if is_engine(command)]
        if any(_PROBE in command and not is_code(command) for command in engines or line.commands):
            return before
        if not line.in_shell:
            break
    return None


def _cap_args(more: list[str], container: Json, form: _Form, settings: Additions, errors: list[FieldError]) -> bool:
    """Append the cap's flag; tells whether the container reads the cap."""
    template = {**container, "env": [*container.get("env", []), _variable(CAP_VARIABLE, settings)]}
    launch = read_launch(template)
    if form.line.mentions(CAP_VARIABLE) and launch.reads_cap:
        return True
    flag = CAP_FLAG.get(settings.engine)
    if flag is None:
        return False
    fixed = settings.batching.mode is BatchingMode.FIXED
    given = next((each for each in (flag, ADMISSION_FLAG) if sets(form.line, each)), "")
    if given or launch.named_by:
        if not fixed:
            field, own = ("args", given) if given else ("env", launch.named_by)
            advice = f"drop {own} so that pertoken can set the batch cap, or set batching.mode to Fixed"
            errors.append(FieldError(f"{settings.path}.{field}", own, advice))
        return False
    if form.way_in is None:
        if not fixed:
            advice = f"a shell line must itself pass {flag}={CAP_REFERENCE}; or set batching.mode to Fixed"
            errors.append(FieldError(f"{settings.path}.args", None, advice))
        return False
    if not fixed and settings.admission and _admits(container, settings):
        # Buffers and graphs stay as they are, whatever the cap is.
        more += [f"{flag}={settings.batching.max_sequences}", f"{ADMISSION_FLAG}={CAP_REFERENCE}"]
    else:
        more.append(f"{flag}={CAP_REFERENCE}")
    return True


def _admits(container: Json, settings: Additions) -> bool:
    image = str(container.get("image", ""))
    return settings.engine is EngineKind.VLLM and _is_vllm_since(ADMISSION_SINCE, image, settings.engine_version)


def _variable(name: str, settings: Additions) -> Json:
    return {"name": name, "valueFrom": {"configMapKeyRef": {"name": settings.cap_config_map, "key": name}}}


def _variable_env(env: list[Json], name: str, settings: Additions, errors: list[FieldError]) -> None:
    if any(entry.get("name") == name for entry in env):
        errors.append(FieldError(f"{settings.path}.env", name, "pertoken sets this variable: drop it"))
        return
    env.append(_variable(name, settings))


def _first_chunk(container: Json, form: _Form, settings: Additions) -> int | None:
    """Tokens per step that the engine starts with, where pertoken may set them; None where it may not.

    Its steps have to hold prompts and decoding sequences together (vLLM; SGLang where it is told to), it has to take
    further arguments, and not be told its chunk by the user; what it would run with has to be known, or limited by the
    user.
    """
    batching, engine = settings.batching, settings.engine
    mixes = engine is EngineKind.VLLM or (engine is EngineKind.SGLANG and sets(form.line, MIXED_FLAG))
    free = settings.chunk and mixes and batching.mode is BatchingMode.AUTO
    if not free or form.way_in is None or sets(form.line, TOKENS_FLAG[engine]):
        return None
    stated = stated_release(engine.value, settings.engine_version)
    usual = read_launch(container).settings(settings.gpu, stated=stated).batched_tokens
    first = batching.max_batched_tokens or usual
    return None if first is None else max(first, batching.max_sequences)


def _batched_tokens(more: list[str], form: _Form, settings: Additions, errors: list[FieldError]) -> None:
    tokens = settings.batching.max_batched_tokens
    if tokens is None:
        return
    variant = settings.path.split(".podTemplate", 1)[0]
    if settings.engine is not EngineKind.VLLM or form.way_in is None:
        advice = "only an owned vllm engine that takes further arguments takes it"
        errors.append(FieldError(f"{variant}.batching.maxBatchedTokens", tokens, advice))
    elif sets(form.line, BATCHED_TOKENS_FLAG):
        advice = f"set it here or by {BATCHED_TOKENS_FLAG} in the template, not both"
        errors.append(FieldError(f"{variant}.batching.maxBatchedTokens", tokens, advice))
    else:
        more.append(f"{BATCHED_TOKENS_FLAG}={tokens}")


def _takes_buckets(container: Json, form: _Form, settings: Additions) -> bool:
    promised = settings.latency.ttft_seconds or settings.latency.inter_token_seconds or settings.latency.stall_seconds
    return (
        settings.engine is EngineKind.VLLM
        and bool(promised)
        and form.way_in is not None
        and not sets(form.line, BUCKETS_FLAG)
        and knows_buckets(str(container.get("image", "")), settings.engine_version)
    )


def knows_buckets(image: str, engine_version: str = "") -> bool:
    """Whether an image is a vLLM that has the flag. Unknown versions count as old: too new a flag is fatal.

    Args:
        image: of the container.
        engine_version: as the user states it, which counts more than the image's tag; empty for none.
    """
    return _is_vllm_since(BUCKETS_SINCE, image, engine_version)


def _is_vllm_since(since: Version, image: str, engine_version: str) -> bool:
    release = stated_release(VLLM, engine_version) or release_of(image)
    if release is None or release.engine != VLLM or release.version is None:
        return False
    return release.certain and release.version >= since


def histogram_buckets(latency: LatencyObjective) -> str:
    """VLLM's default edges with one exactly at each objective, as the flag's JSON (seconds)."""
    families: dict[str, tuple[float, ...]] = {}
    if latency.ttft_seconds is not None:
        families["time_to_first_token"] = (*TTFT_EDGES, latency.ttft_seconds)
    promised = [edge for edge in (latency.inter_token_seconds, latency.stall_seconds) if edge is not None]
    if promised:
        families["inter_token_latency"] = (*INTER_TOKEN_EDGES, *promised)
    return json.dumps({family: sorted(set(edges)) for family, edges in families.items()}, separators=(",", ":"))


def _ports(container: Json, settings: Additions, errors: list[FieldError]) -> list[Json]:
    """The container's ports; the first one serves, and is called http if it has no name."""
    ports = [dict(port) for port in container.get("ports", [])]
    if not ports:
        default = DEFAULT_PORT.get(settings.engine)
        if default is None:
            errors.append(FieldError(f"{settings.path}.ports", None, "the port on which the engine serves, first"))
            return []
        return [{"name": "http", "containerPort": default, "protocol": "TCP"}]
    ports[0].setdefault("name", "http")
    return ports
