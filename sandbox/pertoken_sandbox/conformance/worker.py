"""vLLM's CPU worker whose steps take the modelled time; runs inside the real vLLM's own environment.

Scheduler, KV cache, preemption, prefix cache and metrics are vLLM's; only the time of the GPU is modelled. A step ends
when the modelled time since its start is over. It starts where the step before it ended as long as requests stay in the
batch, so that vLLM's few milliseconds between two steps do not add up.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertoken_sandbox.conformance.table import step_clock

if TYPE_CHECKING:

    class CPUWorker:
        """What is overridden of ``vllm.v1.worker.cpu_worker.CPUWorker``, which only its own environment has."""

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def execute_model(self, scheduler_output: Any) -> Any:
            """Run the model."""

        def sample_tokens(self, grammar_output: Any) -> Any:
            """Draw the tokens."""
else:
    from vllm.v1.worker.cpu_worker import CPUWorker

STEPS_FILE = "PERTOKEN_CONFORMANCE_STEPS"
SEQUENCES = "PERTOKEN_CONFORMANCE_SEQUENCES"


@dataclass(frozen=True, slots=True)
class StepContent:
    """What the scheduler put into one step.

    Attributes:
        decodes: sequences that get one token.
        context: KV tokens that they read.
        chunks: prompt chunks as (tokens, tokens before them).
        carried: whether a request is under way since an earlier step, so that this step follows on another.
    """

    decodes: int
    context: int
    chunks: tuple[tuple[int, int], ...]
    carried: bool


class StepReader:
    """Tells decodes from prompt chunks in vLLM's scheduler output."""

    def __init__(self) -> None:
        self._prompts: dict[str, int] = {}  # prompt tokens of the requests under way

    def read(self, output: Any) -> StepContent:
        """The content of the step; finished requests are forgotten first."""
        for name in output.finished_req_ids:
            self._prompts.pop(name, None)
        carried = bool(self._prompts)
        decodes = context = 0
        chunks: list[tuple[int, int]] = []
        scheduled = output.num_scheduled_tokens
        for new in output.scheduled_new_reqs:
            self._prompts[new.req_id] = len(new.prompt_token_ids)
            chunks.append((scheduled[new.req_id], new.num_computed_tokens))
        cached = output.scheduled_cached_reqs
        for name, computed, generated in zip(
            cached.req_ids, cached.num_computed_tokens, cached.num_output_tokens, strict=True
        ):
            last_out = self._prompts[name] + generated - 1  # every token but the newest is in the cache
            if name not in cached.resumed_req_ids and generated and computed >= last_out:
                decodes += 1
                context += computed
            else:
                chunks.append((scheduled[name], computed))
        return StepContent(decodes, context, tuple(chunks), carried)


class TimedWorker(CPUWorker):
    """The CPU worker with modelled step times."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock = step_clock(int(os.environ[SEQUENCES]))
        self._reader = StepReader()
        self._due = 0.0
        self._log = Path(os.environ[STEPS_FILE]).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - as the worker

    def execute_model(self, scheduler_output: Any) -> Any:
        """Begin a step: run the small model, and set when the step has to end."""
        began = time.monotonic()
        content = self._reader.read(scheduler_output)
        if scheduler_output.total_num_scheduled_tokens:
            start = self._due if content.carried else began
            seconds = self._clock.seconds(content.decodes, content.context, list(content.chunks), 0.0)
            self._due = start + seconds
            row = (round(start, 6), round(seconds, 6), round(began - start, 6), content.decodes, content.context)
            self._log.write(json.dumps([*row, content.chunks]) + "\n")
        result = super().execute_model(scheduler_output)
        if result is not None:
            self._rest()
        return result

    def sample_tokens(self, grammar_output: Any) -> Any:
        """End the step: its tokens come out when its time is over."""
        result = super().sample_tokens(grammar_output)
        self._rest()
        return result

    def _rest(self) -> None:
        time.sleep(max(0.0, self._due - time.monotonic()))
