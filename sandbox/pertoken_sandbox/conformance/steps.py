"""What vLLM's scheduler put into a step, in the words of the step-time table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

STEPS_FILE: Final = "PERTOKEN_CONFORMANCE_STEPS"  # environment: where the worker notes its steps
SEQUENCES: Final = "PERTOKEN_CONFORMANCE_SEQUENCES"  # environment: max_num_seqs
STRETCH: Final = "PERTOKEN_CONFORMANCE_STRETCH"  # environment: of step times


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
