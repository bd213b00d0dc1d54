"""A reference engine that does every step on its own, with lists and no shortcuts: what the fast one must equal."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field

from pertoken_bench.compiled_engine.layout import graph_sizes
from pertoken_bench.compiled_engine.timing import normal, uniform

SIZES = graph_sizes()


def interpolate(table, row, column):
    rows, columns = table.rows, table.columns
    i = max(k for k in range(len(rows) - 1) if k == 0 or rows[k] <= row)
    j = max(k for k in range(len(columns) - 1) if k == 0 or columns[k] <= column)
    u = (row - rows[i]) / (rows[i + 1] - rows[i])
    v = (column - columns[j]) / (columns[j + 1] - columns[j])
    ms = table.ms
    low = (1 - v) * ms[i][j] + v * ms[i][j + 1]
    high = (1 - v) * ms[i + 1][j] + v * ms[i + 1][j + 1]
    return max((1 - u) * low + u * high, 0.9 * ms[0][0])


def blocks(tokens):
    return math.ceil(tokens / 16)


@dataclass(eq=False)
class Job:
    index: int
    arrival: float
    inputs: int
    outputs: int
    prefix: tuple = ()
    computed: int = 0
    target: int = 0
    generated: int = 0
    decoding: bool = False
    cached: int = 0
    scheduled: bool = False
    shown: int = 0
    left: tuple = (0, 0, 0)  # of a preempted job: blocks given back, full ones, blocks taken until which all are there
    first: float = math.nan
    last: float = math.nan


@dataclass(eq=False)
class Replica:
    kind: object
    truth: object
    cap: int
    uid: int
    seed: int
    started: float = 0.0
    waiting: list = field(default_factory=list)
    running: list = field(default_factory=list)
    cache: list = field(default_factory=list)  # least recently used first
    next_at: float = math.inf
    pending: list = field(default_factory=list)
    stepping: bool = False
    taken: int = 0  # KV blocks given out so far
    preemptions: int = 0
    steps: int = 0
    cached_tokens: int = 0
    busy: float = 0.0
    gaps: list = field(default_factory=list)

    @property
    def load(self):
        return len(self.waiting) + len(self.running)

    @property
    def free(self):
        return self.kind.kv_blocks - sum(blocks(job.computed) for job in self.running)

    def factor(self, now):
        truth = self.truth
        number = int(now / 2.0)
        share = (number % 10) / 10
        drawn = (1 - share) * normal(self.seed, self.uid, number // 10)
        drawn += share * normal(self.seed, self.uid, number // 10 + 1)
        drawn = max(-2.0, min(2.0, drawn / math.hypot(1 - share, share)))
        speed = 1 + truth.spread * (2 * uniform(self.seed, self.uid, -7) - 1)
        age = max(0.0, number * 2.0 - self.started)
        slow = 1 + truth.slow_start * max(0.0, 1 - age / truth.slow_start_seconds)
        return speed * math.exp(truth.noise * drawn) * slow

    def decode_ms(self, batch, context):
        times, truth = self.kind.times, self.truth
        if batch > SIZES[-1]:
            return interpolate(times.decode, batch, context / batch) * truth.decode * 1.18
        padded = SIZES[bisect_left(SIZES, batch)]
        return interpolate(times.decode, padded, context / padded) * truth.decode

    def arrive(self, job, now):
        job.target = job.inputs
        self.waiting.append(job)
        if self.next_at == math.inf:
            self.next_at = now

    def event(self):
        """A step ends (or the replica wakes up): apply it, plan the next."""
        now = self.next_at
        if self.stepping:
            self.apply(now)
        self.plan(now)

    def apply(self, end):
        for job in [job for job in self.running if job.decoding]:
            job.computed += 1
            job.generated += 1
            if job.generated == job.outputs:
                self.finish(job, end)
        for job, tokens in self.pending:
            job.computed += tokens
            if job.computed < job.target:
                continue
            if math.isnan(job.first):
                job.first = end
                self.cached_tokens += job.cached
            job.generated += 1
            job.decoding = True
            if job.generated == job.outputs:
                self.finish(job, end)

    def finish(self, job, end):
        job.last = end
        self.running.remove(job)
        self.hide(job)

    def hide(self, job):
        """Blocks that no other running job shows stay in free memory, a prompt's last ones the first to go."""
        for block in reversed(job.prefix[: job.shown]):
            if not any(block in other.prefix[: other.shown] for other in self.running):
                self.cache.append(block)
        job.shown = 0

    def show(self, job, computed):
        covered = len(job.prefix) if computed >= job.inputs else computed // 512
        job.shown = max(job.shown, min(covered, len(job.prefix)))
        self.cache = [block for block in self.cache if block not in job.prefix[: job.shown]]

    def preempt(self, free):
        job = self.running.pop()
        job.left = (blocks(job.computed), job.computed // 16, self.taken + free)
        self.hide(job)
        job.computed, job.target, job.decoding = 0, job.inputs + job.generated, False
        self.waiting.insert(0, job)
        self.preemptions += 1

    def growth(self):
        return sum(blocks(job.computed + 1) - blocks(job.computed) for job in self.running if job.decoding)

    def plan(self, now):
        while True:
            preempted = False
            while self.growth() > self.free:
                self.preempt(self.free)
                preempted = True
            self.taken += self.growth()
            preempted = self.schedule(preempted)
            decoding = [job for job in self.running if job.decoding]
            if self.pending or decoding or not preempted:
                break
        self.stepping = bool(self.pending or decoding)
        if not self.stepping:
            self.next_at = math.inf
            return
        context = sum(job.computed for job in decoding)
        if self.pending:
            total = len(decoding) + sum(tokens for _, tokens in self.pending)
            attended = sum(tokens * (tokens + 2 * job.computed) for job, tokens in self.pending)
            past = (attended - total * total) / (2 * total)
            ms = interpolate(self.kind.times.prefill, total, past) * self.truth.prefill
            if decoding:
                alone = self.decode_ms(len(decoding), 0)
                ms = max(ms, alone) + max(0.0, self.decode_ms(len(decoding), context) - alone)
        else:
            ms = self.decode_ms(len(decoding), context)
        seconds = ms * self.factor(now) / 1000
        self.busy += seconds
        self.gaps += [seconds] * len(decoding)
        self.steps += 1
        self.next_at = now + seconds

    def schedule(self, preempted):
        self.pending = []
        decoding = sum(1 for job in self.running if job.decoding)
        budget = self.kind.budget - decoding
        free = self.free - self.growth()
        for job in [job for job in self.running if not job.decoding]:
            tokens = min(job.target - job.computed, budget)
            if tokens <= 0:
                continue
            needed = blocks(job.computed + tokens) - blocks(job.computed)
            if needed > free:
                self.preempt(free)
                return True
            self.taken += needed
            self.show(job, job.computed + tokens)
            self.pending.append((job, tokens))
            budget -= tokens
            free -= needed
        while not preempted and self.waiting and budget > 0 and len(self.running) < self.cap:
            job = self.waiting[0]
            if blocks(job.target) > free:
                break
            self.waiting.pop(0)
            self.running.append(job)
            if not job.scheduled:
                job.scheduled = True
                job.cached = job.computed = self.hits(job, free)
            else:
                job.computed = self.still_there(job)
            free -= blocks(job.computed)
            tokens = min(job.target - job.computed, budget)
            needed = blocks(job.computed + tokens) - blocks(job.computed)
            free -= needed
            self.taken += needed
            self.show(job, job.computed + tokens)
            self.pending.append((job, tokens))
            budget -= tokens
        return preempted

    def hits(self, job, free):
        room = free * 16 // 512
        while len(self.cache) > room:
            self.cache.pop(0)
        if not job.prefix:
            return 0
        count = 0
        shown = {block for other in self.running for block in other.prefix[: other.shown]}
        while count < len(job.prefix) and (job.prefix[count] in self.cache or job.prefix[count] in shown):
            count += 1
        return min(count * 512, job.inputs - 1) // 16 * 16

    def still_there(self, job):
        """Tokens of a preempted job in full blocks that nobody has taken since."""
        if not self.kind.prefix_cache:
            return 0
        every, full, until = job.left
        return max(0, min(full, every - max(0, self.taken - until), (job.target - 1) // 16)) * 16


def serve(jobs, replicas):
    """Least-loaded routing over replicas that are ready from the start, until everything is done."""
    jobs = sorted(jobs, key=lambda job: job.arrival)
    cursor = 0
    while True:
        replica = min(replicas, key=lambda one: one.next_at)
        coming = jobs[cursor].arrival if cursor < len(jobs) else math.inf
        if replica.next_at == coming == math.inf:
            return jobs
        if replica.next_at <= coming:
            replica.event()
            continue
        min(replicas, key=lambda one: one.load).arrive(jobs[cursor], coming)
        cursor += 1
