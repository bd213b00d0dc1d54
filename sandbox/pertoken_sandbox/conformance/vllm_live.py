"""A case on the real vLLM, in real time: requests at their instants, streamed answers, the metrics page."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from pertoken_sandbox.conformance.cases import Case, prompt_tokens
from pertoken_sandbox.conformance.outcome import SAMPLE_SECONDS, CaseOutcome, ClientLatency, EngineCounts, Gauges, mean
from pertoken_sandbox.conformance.pages import families, totals
from pertoken_sandbox.conformance.server import Server
from pertoken_sandbox.fleet.clients import percentile
from pertoken_sandbox.fleet.trace import Arrival

TIMEOUT_SECONDS = 600.0
WARM_UP_TOKENS = 8
LEAD_SECONDS = 1.0


class RequestFailed(Exception):
    """vLLM refused or broke off a request; the message says which and with what words."""


@dataclass(slots=True)
class Answer:
    """What the client saw, seconds of the run's clock."""

    sent: float = 0.0
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0


@dataclass(slots=True)
class _Run:
    server: Server
    case: Case
    session: aiohttp.ClientSession
    zero: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    gauges: Gauges = field(default_factory=Gauges)

    def now(self) -> float:
        return time.monotonic() - self.zero

    async def page(self) -> str:
        async with self.session.get(f"{self.server.url}/metrics") as answer:
            return await answer.text()

    async def send(self, index: int, request: Arrival) -> Answer:
        await asyncio.sleep(max(0.0, request.at - self.now()))
        answer = Answer(sent=self.now())
        async with self.session.post(f"{self.server.url}/v1/completions", json=self._body(index, request)) as reply:
            if reply.status != 200:
                raise RequestFailed(f"request {index}: status {reply.status}: {await reply.text()}")
            async for line in reply.content:
                _read(line, answer, self.now())
        if answer.tokens != request.output_tokens:
            raise RequestFailed(f"request {index}: {answer.tokens} tokens came, {request.output_tokens} were asked for")
        return answer

    def _body(self, index: int, request: Arrival) -> dict[str, Any]:
        return {
            "model": self.server.model,
            "prompt": prompt_tokens(index, request),
            "max_tokens": request.output_tokens,
            "min_tokens": request.output_tokens,
            "ignore_eos": True,
            "detokenize": False,
            "stream": True,
            "return_token_ids": True,
            "temperature": 0.0,
        }

    async def sample(self, until: asyncio.Event) -> None:
        """Gauges on the common grid; a late sample is taken late, none is left out."""
        count = 0
        while not until.is_set():
            await asyncio.sleep(max(0.0, count * SAMPLE_SECONDS - self.now()))
            values = totals(await self.page())
            self.gauges.add(values["vllm:num_requests_running"], values["vllm:num_requests_waiting"])
            count += 1


def _read(line: bytes, answer: Answer, now: float) -> None:
    """One line of the event stream.

    Raises:
        RequestFailed: the server reports an error in it.
    """
    if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
        return
    event = json.loads(line[6:])
    if "error" in event:
        raise RequestFailed(str(event["error"]))
    tokens = sum(len(choice.get("token_ids") or ()) for choice in event["choices"])
    if tokens:
        answer.first = answer.first or now
        answer.last = now
        answer.tokens += tokens


def play(case: Case, server: Server) -> CaseOutcome:
    """Send the case's requests and wait for the last token.

    Raises:
        RequestFailed: an answer is not what was asked for.
    """
    return asyncio.run(_play(case, server))


async def _play(case: Case, server: Server) -> CaseOutcome:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        run = _Run(server, case, session)
        await run.send(-1, Arrival(0.0, WARM_UP_TOKENS, WARM_UP_TOKENS))
        before, steps_before = await run.page(), _lines(server.steps)
        run.zero = time.monotonic() + LEAD_SECONDS
        done = asyncio.Event()
        sampler = asyncio.create_task(run.sample(done))
        try:
            run.answers = await asyncio.gather(*(run.send(i, each) for i, each in enumerate(case.requests)))
        finally:
            done.set()
            await sampler
        after = await run.page()
    return _outcome(run, _grown(before, after), after, _late(server.steps, steps_before))


def _grown(before: str, after: str) -> dict[str, float]:
    old = totals(before)
    return {name: value - old.get(name, 0.0) for name, value in totals(after).items()}


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _late(path: Path, skip: int) -> tuple[float, float]:
    """Mean and p95, ms, of what steps began after their modelled start."""
    late = [json.loads(line)[2] * 1e3 for line in path.read_text(encoding="utf-8").splitlines()[skip:]]
    return mean(late), percentile(late, 95) or 0.0


def _outcome(run: _Run, grown: dict[str, float], page: str, late: tuple[float, float]) -> CaseOutcome:
    running, waiting = run.gauges.means()
    answers = run.answers
    return CaseOutcome(
        "vLLM, served",
        [each.sent for each in answers],
        max(each.last for each in answers),
        ClientLatency(
            [(each.first - each.sent) * 1e3 for each in answers],
            [(each.last - each.first) * 1e3 / (each.tokens - 1) if each.tokens > 1 else None for each in answers],
        ),
        running,
        waiting,
        EngineCounts(
            steps=grown["vllm:iteration_tokens_total_count"],
            preemptions=grown["vllm:num_preemptions_total"],
            prompt_tokens=grown["vllm:prompt_tokens_total"],
            generated_tokens=grown["vllm:generation_tokens_total"],
            prefix_queries=grown["vllm:prefix_cache_queries_total"],
            prefix_hits=grown["vllm:prefix_cache_hits_total"],
            between_seconds=grown["vllm:inter_token_latency_seconds_sum"],
            queue_seconds=grown["vllm:request_queue_time_seconds_sum"],
        ),
        families(page),
        late,
    )
