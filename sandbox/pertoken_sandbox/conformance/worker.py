"""vLLM's CPU worker whose steps take the modelled time; runs inside the real vLLM's own environment.

Scheduler, KV cache, preemption, prefix cache and metrics are vLLM's; only the time of the GPU is modelled. A step ends
when the modelled time since its start is over. It starts where the step before it ended as long as requests stay in the
batch, so that vLLM's few milliseconds between two steps do not add up.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertoken_sandbox.conformance.steps import SEQUENCES, STEPS_FILE, STRETCH, StepReader
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


class TimedWorker(CPUWorker):
    """The CPU worker with modelled step times."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock = step_clock(int(os.environ[SEQUENCES]), float(os.environ[STRETCH]))
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
