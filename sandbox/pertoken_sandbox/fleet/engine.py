"""An emulated vLLM engine: continuous batching with chunked prefill, pure of clocks and I/O.

Scheduling follows vLLM v1 (``vllm.v1.core.sched.scheduler``): running requests first, one token per decode, then the
rest of the ``max_num_batched_tokens`` budget to prompts, first come first served; a prompt is admitted when a sequence
slot is free and its whole length fits into free KV blocks; when a decode finds no free block the request admitted last
is preempted and gives its blocks back; what of them nobody has taken when it is admitted again is a prefix hit, the
rest (prompt and the tokens generated so far) is recomputed. Blocks are given out in the order in which they came back,
a request's last ones first.

A step costs O(changes), not O(batch): every decode grows by one token per step, so the step at which a sequence ends
is known when it begins to decode (a heap), and the steps at which it needs a new block recur every 16 (a phase count).
"""

import heapq
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from pertoken_sandbox.fleet.profiles import BLOCK_TOKENS
from pertoken_sandbox.fleet.truth import StepClock

PREFIX_TOKENS = 512
"""Tokens covered by one id of a request's ``prefix_ids``."""


class Request:
    """One generation request; times are seconds, ``-1`` until the event happened."""

    __slots__ = (
        "admitted_at", "arrival", "cached_tokens", "computed", "decode_base", "decoding", "finished_at",
        "first_scheduled_at", "first_token_at", "generated", "input_tokens", "last_token_at", "left_blocks",
        "left_until", "order", "output_tokens", "preemptions", "prefix_ids", "shown_ids", "target",
    )  # fmt: skip

    def __init__(
        self,
        input_tokens: int,
        output_tokens: int,
        arrival: float,
        prefix_ids: tuple[int, ...] = (),
    ) -> None:
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.arrival = arrival
        self.prefix_ids = prefix_ids
        self.reset()

    def reset(self) -> None:
        """Forget everything an engine did, so that another engine can take the request from the start."""
        self.admitted_at = self.first_scheduled_at = self.first_token_at = -1.0
        self.last_token_at = self.finished_at = -1.0
        self.order = 0
        self.computed = 0  # tokens in the KV cache while prefilling
        self.target = self.input_tokens  # tokens to compute before the next token comes out
        self.generated = 0  # tokens out when the present decode began; see Engine.generated_tokens
        self.decode_base = 0
        self.decoding = False
        self.cached_tokens = 0
        self.preemptions = 0
        self.left_blocks = (0, 0)  # blocks given back when preempted: all, and those that were full
        self.left_until = 0  # the engine's count of blocks given out up to which all of them are still there
        self.shown_ids = 0  # leading ids of `prefix_ids` that the engine's running requests offer to others through it


@dataclass(frozen=True)
class EngineConfig:
    """Limits of one engine: sequences, tokens per step, KV blocks of 16 tokens, longest context in tokens."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_blocks: int
    max_model_len: int
    max_num_active_seqs: int | None = None
    prefix_caching: bool = True

    @property
    def cap(self) -> int:
        """Most sequences that may run at once."""
        return min(self.max_num_seqs, self.max_num_active_seqs or self.max_num_seqs)


@dataclass(slots=True)
class StepResult:
    """What one step does; its effects on the outside (tokens, finishes) happen at ``end``."""

    start: float
    duration: float
    decodes: int
    """Sequences that decoded one token; all had their previous token at ``start``."""
    context_tokens: int
    """KV tokens the decodes read."""
    chunks: list[tuple[int, int]]
    """Prompt chunks computed: (tokens, tokens before them)."""
    first_tokens: list[Request] = field(default_factory=list)
    resumed: list[tuple[Request, float]] = field(default_factory=list)
    """Requests that went on after preemption, with the seconds since their last token."""
    finished: list[Request] = field(default_factory=list)
    preempted: int = 0
    waiting: int = 0
    """Requests left in the queue when the step was scheduled: what vLLM's gauge shows after it."""
    admitted: list[Request] = field(default_factory=list)

    @property
    def end(self) -> float:
        """Instant at which the step's tokens come out."""
        return self.start + self.duration

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens computed in the step (recomputation included)."""
        return sum(tokens for tokens, _ in self.chunks)


class Engine:
    """One replica's scheduler and KV cache. Call ``step`` only when ``busy``."""

    def __init__(self, config: EngineConfig, clock: StepClock) -> None:
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
