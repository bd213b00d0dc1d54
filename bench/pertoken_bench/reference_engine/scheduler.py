"""The reference engine: vLLM's continuous batching with chunked prefill, step by step, pure of clocks and I/O.

Scheduling follows vLLM v1 (``vllm.v1.core.sched.scheduler``): running requests first, one token per decode, then the
rest of the ``max_num_batched_tokens`` budget to prompts, first come first served; a prompt is admitted when a sequence
slot is free and its whole length fits into free KV blocks; when a decode finds no free block the request admitted last
is preempted and gives its blocks back; what of them nobody has taken when it is admitted again is a prefix hit, the
rest (prompt and the tokens generated so far) is recomputed. Blocks are given out in the order in which they came back,
a request's last ones first.

A step costs O(changes), not O(batch): every decode grows by one token per step, so the step at which a sequence ends
is known when it begins to decode (a heap), and the steps at which it needs a new block recur every 16 (a phase count).
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque

from pertoken_bench.hardware.step_times import BLOCK_TOKENS
from pertoken_bench.reference_engine.request import PREFIX_TOKENS, EngineConfig, Request, StepResult
from pertoken_bench.reference_engine.step_clock import Durations


class ReferenceEngine:
    """One replica's scheduler and KV cache. Call ``step`` only when ``busy``."""

    def __init__(self, config: EngineConfig, clock: Durations) -> None:
        self.config = config
        self._clock = clock
        self.waiting: deque[Request] = deque()
        self._running: dict[int, Request] = {}  # admission order; the last is preempted first
        self._prefilling: list[Request] = []
        self._decode_steps = 0  # steps in which the decodes advanced
        self._finish: list[tuple[int, int, Request]] = []
        self._phase = [0] * BLOCK_TOKENS  # decodes that need a new block when decode_steps % 16 is the index
        self._decoding = 0
        self._context = 0  # KV tokens of the decodes
        self._used_blocks = 0
        self._taken_blocks = 0  # blocks given out so far
        self._order = 0
        self._prefix: OrderedDict[int, None] = OrderedDict()  # in free blocks, least recently used first
        self._shown: Counter[int] = Counter()  # in blocks of running requests

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._running or self.waiting)

    @property
    def running(self) -> int:
        """Admitted sequences (prefilling and decoding)."""
        return len(self._running)

    @property
    def decoding(self) -> int:
        """Sequences that get one token per step."""
        return self._decoding

    @property
    def load(self) -> int:
        """Running and waiting requests: what a least-loaded router compares."""
        return len(self._running) + len(self.waiting)

    @property
    def used_blocks(self) -> int:
        """KV blocks held by running sequences."""
        return self._used_blocks

    @property
    def kv_usage(self) -> float:
        """Share of the KV blocks in use, 0 to 1."""
        return self._used_blocks / self.config.kv_blocks

    def generated_tokens(self, request: Request) -> int:
        """Output tokens of a request so far."""
        if request.decoding:
            return request.generated + self._decode_steps - request.decode_base
        return request.generated

    def rejects(self, request: Request) -> str | None:
        """Why the engine would refuse a request at once (HTTP 400 in vLLM), or None."""
        total = request.input_tokens + request.output_tokens
        if request.input_tokens < 1 or request.output_tokens < 1:
            return "a request needs at least one input and one output token"
        if total > self.config.max_model_len:
            return f"{total} tokens exceed max_model_len {self.config.max_model_len}"
        if _blocks(total) > self.config.kv_blocks:
            return f"{total} tokens exceed the KV cache of {self.config.kv_blocks * BLOCK_TOKENS}"
        return None

    def add(self, request: Request, now: float) -> None:
        """Queue a request that ``rejects`` accepts."""
        request.admitted_at = now
        self.waiting.append(request)

    def drop_all(self) -> list[Request]:
        """Abort everything (the pod is gone); the requests come back in admission order, then queue order."""
        lost = [*self._running.values(), *self.waiting]
        self._running.clear()
        self.waiting.clear()
        self._prefilling.clear()
        self._finish.clear()
        self._phase = [0] * BLOCK_TOKENS
        self._decoding = self._context = self._used_blocks = 0
        self._shown.clear()
        return lost

    def step(self, now: float) -> StepResult:
        """Schedule and run one step that begins at ``now`` (s). All state afterwards is that at ``result.end``."""
        result = StepResult(start=now, duration=0.0, decodes=0, context_tokens=0, chunks=[])
        self._grow_decodes(result)
        budget = self.config.max_num_batched_tokens - self._decoding
        scheduled = self._continue_prefills(budget, result)
        budget -= sum(tokens for _, tokens in scheduled)
        if not result.preempted:
            self._admit(budget, result, scheduled)
        result.waiting = len(self.waiting)
        result.decodes, result.context_tokens = self._decoding, self._context
        result.duration = self._clock.seconds(self._decoding, self._context, result.chunks, now)
        self._advance(result, scheduled)
        return result

    def _grow_decodes(self, result: StepResult) -> None:
        phase = self._decode_steps % BLOCK_TOKENS
        while self._phase[phase] > self.config.kv_blocks - self._used_blocks:
            self._preempt_last(result)
        self._take(self._phase[phase])

    def _take(self, blocks: int) -> None:
        """Give out free blocks."""
        self._used_blocks += blocks
        self._taken_blocks += blocks

    def _preempt_last(self, result: StepResult) -> None:
        order = next(reversed(self._running))
        request = self._running.pop(order)
        held = self._held_tokens(request) if request.decoding else request.computed
        request.left_until = self._taken_blocks + self.config.kv_blocks - self._used_blocks
        request.left_blocks = (_blocks(held), held // BLOCK_TOKENS)
        self._used_blocks -= _blocks(held)
        if request.decoding:
            request.generated = self.generated_tokens(request)
            request.last_token_at = result.start
            self._decoding -= 1
            self._context -= held
            self._phase[self._phase_of(request)] -= 1
            request.decoding = False
        else:
            self._prefilling.remove(request)
        self._hide(request)
        request.computed = 0
        request.target = request.input_tokens + request.generated
        request.order = 0  # stale heap entries are known by it
        request.preemptions += 1
        result.preempted += 1
        self.waiting.appendleft(request)

    def _continue_prefills(self, budget: int, result: StepResult) -> list[tuple[Request, int]]:
        """Go on with the prompt that the last step left unfinished: at most one, and always the last admitted."""
        if not self._prefilling:
            return []
        request = self._prefilling[0]
        tokens = min(request.target - request.computed, budget)
        if tokens <= 0:
            return []
        needed = _blocks(request.computed + tokens) - _blocks(request.computed)
        if needed > self.config.kv_blocks - self._used_blocks:
            self._preempt_last(result)
            return []
        self._take(needed)
        self._show(request, request.computed + tokens)
        result.chunks.append((tokens, request.computed))
        return [(request, tokens)]

    def _admit(self, budget: int, result: StepResult, scheduled: list[tuple[Request, int]]) -> None:
        cap = self.config.cap
        while self.waiting and budget > 0 and len(self._running) < cap:
            request = self.waiting[0]
            if _blocks(request.target) > self.config.kv_blocks - self._used_blocks:
                return
            self.waiting.popleft()
            self._order += 1
            request.order = self._order
            self._running[request.order] = request
            self._prefilling.append(request)
            if request.first_scheduled_at < 0:
                request.first_scheduled_at = result.start
                request.cached_tokens = self._cached(request)
                result.admitted.append(request)
                request.computed = request.cached_tokens
            else:
                request.computed = self._still_there(request)
            self._used_blocks += _blocks(request.computed)
            tokens = min(request.target - request.computed, budget)
            self._take(_blocks(request.computed + tokens) - _blocks(request.computed))
            self._show(request, request.computed + tokens)
            result.chunks.append((tokens, request.computed))
            scheduled.append((request, tokens))
            budget -= tokens

    def _advance(self, result: StepResult, scheduled: list[tuple[Request, int]]) -> None:
        """Apply the step's tokens: first the decodes, then the prompts that are complete."""
        end = result.end
        if self._decoding:
            self._decode_steps += 1
            self._context += self._decoding
            self._finish_decodes(result, end)
        for request, tokens in scheduled:
            request.computed += tokens
            if request.computed == request.target:
                self._prefilling.remove(request)
                self._first_token(request, result, end)

    def _finish_decodes(self, result: StepResult, end: float) -> None:
        while self._finish and self._finish[0][0] <= self._decode_steps:
            _, order, request = heapq.heappop(self._finish)
            if request.order != order:
                continue  # preempted since
            context = self._held_tokens(request)
            self._decoding -= 1
            self._context -= context
            self._used_blocks -= _blocks(context)
            self._phase[self._phase_of(request)] -= 1
            self._end(request, result, end)

    def _first_token(self, request: Request, result: StepResult, end: float) -> None:
        """A prompt (or a recomputation) is complete: its next token comes out and it decodes from now on."""
        if request.first_token_at < 0:
            request.first_token_at = end
            result.first_tokens.append(request)
        else:
            result.resumed.append((request, end - request.last_token_at))
        request.generated += 1
        if request.generated == request.output_tokens:
            self._used_blocks -= _blocks(request.computed)
            self._end(request, result, end)
            return
        request.decoding = True
        request.decode_base = self._decode_steps
        self._decoding += 1
        self._context += request.computed
        self._phase[self._phase_of(request)] += 1
        finish = self._decode_steps + request.output_tokens - request.generated
        heapq.heappush(self._finish, (finish, request.order, request))

    def _end(self, request: Request, result: StepResult, end: float) -> None:
        del self._running[request.order]
        request.generated = request.output_tokens
        request.decoding = False
        request.last_token_at = request.finished_at = end
        result.finished.append(request)
        self._hide(request)

    def _show(self, request: Request, computed: int) -> None:
        """Offer the prompt's leading ids to others as soon as they are scheduled to be computed, as vLLM does."""
        ids = request.prefix_ids
        covered = len(ids) if computed >= request.input_tokens else computed // PREFIX_TOKENS
        for block in ids[request.shown_ids : covered]:
            self._shown[block] += 1
            self._prefix.pop(block, None)
        request.shown_ids = max(request.shown_ids, min(covered, len(ids)))

    def _hide(self, request: Request) -> None:
        """The request gives its blocks back: its ids stay in free blocks, the last of them the first to go."""
        for block in reversed(request.prefix_ids[: request.shown_ids]):
            self._shown[block] -= 1
            if not self._shown[block]:
                del self._shown[block]
                self._prefix[block] = None
                self._prefix.move_to_end(block)
        request.shown_ids = 0

    def _still_there(self, request: Request) -> int:
        """Tokens of a preempted request whose blocks nobody has taken since."""
        if not self.config.prefix_caching:
            return 0
        every, full = request.left_blocks
        left = min(full, every - max(0, self._taken_blocks - request.left_until))
        return max(0, min(left, (request.target - 1) // BLOCK_TOKENS)) * BLOCK_TOKENS

    def _held_tokens(self, request: Request) -> int:
        """KV tokens of a decoding request: what its prefill computed and one per decode step since."""
        return request.computed + self._decode_steps - request.decode_base

    @staticmethod
    def _phase_of(request: Request) -> int:
        """Decode steps (mod 16) at which the request's next token opens a new block."""
        return (request.decode_base - request.computed) % BLOCK_TOKENS

    def _cached(self, request: Request) -> int:
        """Prompt tokens whose KV is there from other requests.

        Prefixes of running requests are there, those of finished ones stay in free blocks, least recently used ones go
        first. A hit spares computation; the hit tokens are counted as this request's own blocks (no sharing), which
        errs on the safe side.
        """
        if not self.config.prefix_caching:
            return 0
        room = (self.config.kv_blocks - self._used_blocks) * BLOCK_TOKENS // PREFIX_TOKENS
        while len(self._prefix) > room:
            self._prefix.popitem(last=False)
        hits = 0
        for block in request.prefix_ids:
            if block not in self._prefix and block not in self._shown:
                break
            hits += 1
        # The last token is always computed, else there would be nothing to sample from.
        usable = min(hits * PREFIX_TOKENS, request.input_tokens - 1)
        return usable // BLOCK_TOKENS * BLOCK_TOKENS


def _blocks(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)
