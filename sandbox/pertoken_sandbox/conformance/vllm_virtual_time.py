"""vLLM's own scheduler and KV-cache manager in virtual time; runs inside the real vLLM's environment.

    python -m pertoken_sandbox.conformance.vllm_virtual_time CASE SENT_AT.json > OUTCOME.json

No model runs and no clock ticks: a step takes what the step-time table says, so that nothing but scheduling is compared
and a loaded machine does no harm.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pertoken_sandbox.conformance.cases import BATCHED_TOKENS, CASES, CONTEXT, Case, prompt_tokens
from pertoken_sandbox.conformance.outcome import SAMPLE_SECONDS, CaseOutcome, ClientLatency, EngineCounts, Gauges
from pertoken_sandbox.conformance.server import model_folder
from pertoken_sandbox.conformance.steps import StepReader
from pertoken_sandbox.conformance.table import step_clock

BLOCK_TOKENS = 16
ANY_TOKEN = 9  # what the model says does not matter

Json = dict[str, Any]


@dataclass(slots=True)
class _Life:
    """One request's instants, s."""

    scheduled: float = -1.0
    first: float = -1.0
    last: float = -1.0
    tokens: int = 0


def main() -> None:
    """Run one case and print its outcome."""
    name, sent = sys.argv[1], Path(sys.argv[2])
    out, sys.stdout = sys.stdout, sys.stderr  # vLLM's log goes to standard output
    case = CASES[name]()
    with tempfile.TemporaryDirectory() as folder:
        scheduler, make = _scheduler(case, model_folder(Path(folder) / "model"))
        outcome = _run(case, json.loads(sent.read_text(encoding="utf-8")), scheduler, make)
    out.write(json.dumps(asdict(outcome)) + "\n")


def _scheduler(case: Case, model: Path) -> tuple[Any, Callable[[int, float], Any]]:
    """The scheduler as ``vllm serve`` configures it, and how a request is made."""
    engine_args, hashing = import_module("vllm.engine.arg_utils"), import_module("vllm.utils.hashing")
    sampling, interface = import_module("vllm.sampling_params"), import_module("vllm.v1.kv_cache_interface")
    kv_cache = import_module("vllm.v1.core.kv_cache_utils")
    structured = import_module("vllm.v1.structured_output")
    config = engine_args.EngineArgs(
        model=str(model),
        dtype="float32",
        load_format="dummy",
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=CONTEXT,
        num_gpu_blocks_override=case.kv_blocks + 1,
        max_num_seqs=case.max_num_seqs,
        max_num_batched_tokens=BATCHED_TOKENS,
    ).create_engine_config()
    config.cache_config.num_gpu_blocks = case.kv_blocks + 1
    kind = import_module("torch").float32
    spec = interface.FullAttentionSpec(block_size=BLOCK_TOKENS, num_kv_heads=2, head_size=32, dtype=kind)
    cache = interface.KVCacheConfig(case.kv_blocks + 1, [], [interface.KVCacheGroupSpec(["layer"], spec)])
    scheduler = import_module("vllm.v1.core.sched.scheduler").Scheduler(
        config, cache, structured.StructuredOutputManager(config), block_size=BLOCK_TOKENS, log_stats=True
    )
    kv_cache.init_none_hash(hashing.sha256)
    hasher = kv_cache.get_request_block_hasher(BLOCK_TOKENS, hashing.sha256)
    request = import_module("vllm.v1.request").Request

    def make(index: int, arrival: float) -> Any:
        each = case.requests[index]
        wanted = sampling.SamplingParams(
            max_tokens=each.output_tokens, min_tokens=each.output_tokens, ignore_eos=True, detokenize=False
        )
        tokens = prompt_tokens(index, each)
        return request(str(index), tokens, wanted, None, arrival_time=arrival, block_hasher=hasher)

    return scheduler, make


def _run(case: Case, sent_at: Sequence[float], scheduler: Any, make: Callable[[int, float], Any]) -> CaseOutcome:
    outputs = import_module("vllm.v1.outputs")
    clock, reader = step_clock(case.max_num_seqs, case.stretch), StepReader()
    lives = [_Life() for _ in case.requests]
    pending = deque(sorted(range(len(sent_at)), key=lambda index: sent_at[index]))
    gauges, sampled, now = Gauges(), 0, 0.0
    steps = preemptions = 0
    queries = hits = 0
    between, shown = 0.0, (0.0, 0.0)
    while pending or scheduler.has_unfinished_requests():
        if not scheduler.has_unfinished_requests():
            now = max(now, sent_at[pending[0]])
        while pending and sent_at[pending[0]] <= now:
            index = pending.popleft()
            scheduler.add_request(make(index, sent_at[index]))
        output = scheduler.schedule()
        preemptions += len(output.preempted_req_ids or ())
        content = reader.read(output)
        end = now + clock.seconds(content.decodes, content.context, list(content.chunks), 0.0)
        while sampled * SAMPLE_SECONDS < end:
            gauges.add(*(shown if sampled * SAMPLE_SECONDS >= now else (0.0, 0.0)))
            sampled += 1
        done = _tokens(scheduler, output)
        for name in output.num_scheduled_tokens:
            life = lives[int(name)]
            life.scheduled = now if life.scheduled < 0 else life.scheduled
        for name, tokens in zip(output.num_scheduled_tokens, done, strict=True):
            if tokens:
                between += _token(lives[int(name)], end)
        steps += any(done)
        names = list(output.num_scheduled_tokens)
        runner_output = outputs.ModelRunnerOutput(names, {name: place for place, name in enumerate(names)}, done)
        for answer in scheduler.update_from_output(output, runner_output).values():
            if answer.scheduler_stats is not None:
                stats = answer.scheduler_stats.prefix_cache_stats
                queries, hits = queries + stats.queries, hits + stats.hits
        counted = scheduler.get_request_counts()
        shown, now = (float(counted[0]), float(counted[1])), end
    running, waiting = gauges.means()
    return CaseOutcome(
        "vLLM's scheduler",
        list(sent_at),
        now,
        ClientLatency(
            [(life.first - sent) * 1e3 for life, sent in zip(lives, sent_at, strict=True)],
            [(life.last - life.first) * 1e3 / (life.tokens - 1) if life.tokens > 1 else None for life in lives],
        ),
        running,
        waiting,
        EngineCounts(
            steps=steps,
            preemptions=preemptions,
            prompt_tokens=sum(each.input_tokens for each in case.requests),
            generated_tokens=sum(life.tokens for life in lives),
            prefix_queries=queries,
            prefix_hits=hits,
            between_seconds=between,
            queue_seconds=sum(life.scheduled - sent for life, sent in zip(lives, sent_at, strict=True)),
        ),
    )


def _tokens(scheduler: Any, output: Any) -> list[list[int]]:
    """One token for every request whose tokens are all computed after this step.

    The scheduler counts a step's tokens as computed as soon as it has scheduled them.
    """
    requests = (scheduler.requests[name] for name in output.num_scheduled_tokens)
    return [[ANY_TOKEN] if each.num_computed_tokens >= each.num_tokens else [] for each in requests]


def _token(life: _Life, end: float) -> float:
    """Note a token; returns the seconds since the one before it, 0 for the first."""
    life.tokens += 1
    gap = end - life.last if life.first >= 0 else 0.0
    life.first = end if life.first < 0 else life.first
    life.last = end
    return gap


if __name__ == "__main__":
    main()
