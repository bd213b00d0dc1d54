"""The benchmark's contract and laws: figures, bytes, the lower bound, who may know the trace."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pertoken.cli.main import app
from pertoken.domain.signal import LatencyKind, Signal
from pertoken_bench import benchmark
from pertoken_bench.benchmark import UnknownPolicyError, bench, names
from pertoken_bench.policies.ablations import ABLATIONS, foresight
from pertoken_bench.policies.clairvoyant import clairvoyant, first_replicas
from pertoken_bench.policies.fixed import Schedule, at
from pertoken_bench.policies.pertoken_policy import pertoken
from pertoken_bench.policies.registry import ENTRIES
from pertoken_bench.policies.static import fleet_for, keeps_everywhere, keeps_overall
from pertoken_bench.report.html_report import page, pareto
from pertoken_bench.scenarios.prepare import prepare
from pertoken_bench.scenarios.scenario import load, parse
from pertoken_bench.score.bound import bounds_of, least_usd
from pertoken_bench.score.outcome import over_seeds
from pertoken_bench.score.windows import shares_by_window, within_objectives, worst_share
from pertoken_bench.simulation import Run, attainment

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "bench" / "scenarios"
BASE = yaml.safe_load((FOLDER / "azure-conv.yaml").read_text())
FIGURES = (
    "usd", "requests", "input_tokens", "output_tokens", "usd_per_million_tokens", "usd_per_million_good_tokens",
    "slo_attainment", "worst_ten_minutes", "replica_hours",
    "gpu_hours", "scale_events", "batch_changes", "unfinished", "bound_ratio",
)  # fmt: skip


def short(seconds=500, rate=2, **changes):
    content = copy.deepcopy(BASE)
    content["traces"]["chat"] |= {"durationSeconds": seconds, "rateScale": rate}
    content["warmupSeconds"] = 60
    content |= changes
    return parse(content, FOLDER / "short.yaml")


SHORT = short()


def test_contract_of_the_json(tmp_path):
    file = tmp_path / "s.yaml"
    content = copy.deepcopy(BASE)
    content["traces"]["chat"] |= {"durationSeconds": 300, "file": str(ROOT / "examples/traces/azure_2023_conv.csv.gz")}
    content["warmupSeconds"] = 30
    file.write_text(yaml.safe_dump(content))
    arguments = ["bench", "--scenario", str(file), "--policies", "hpa-queue,static-peak", "--seeds", "2", "--jobs", "1"]
    result = CliRunner().invoke(app, [*arguments, "-o", "json", "--html", str(tmp_path / "p.html")])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["policy"] for row in rows] == ["hpa-queue", "static-peak"]
    for row in rows:
        for name in FIGURES:
            assert set(row[name]) == {"mean", "interval"}, name
        for name in ("ttft_ms", "itl_ms"):
            assert set(row[name]) == {"p50", "p95", "p99"}
        low, high = row["usd"]["interval"]
        assert low <= row["usd"]["mean"] <= high
        assert row["bound_ratio"]["mean"] >= 1
        assert row["seeds"] == [0, 1]
    text = (tmp_path / "p.html").read_text()
    assert text.count("<svg") == 3
    assert "hpa-queue" in text
    table = CliRunner().invoke(app, [*arguments[:-4], "--seeds", "1", "--jobs", "1"])
    assert "static-peak" in table.stdout
    assert "x bound" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either --scenario"),
        (["--scenario", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--scenario", str(FOLDER / "azure-conv.yaml"), "--policies", "kubernetes"], "'kubernetes': expected one of"),
        (["--scenario", str(FOLDER / "azure-conv.yaml"), "--policies", "clairvoyant:tuned"], "clairvoyant:tuned"),
        (["--scenario", str(FOLDER / "azure-conv.yaml"), "--policies", ","], "name at least one"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, words):
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("strict", [False, True])
def test_rows_that_are_no_requests_are_said_and_with_strict_refused(tmp_path, strict):
    trace = tmp_path / "burstgpt.csv"
    rows = "".join(f"{n},ChatGPT,300,{0 if n == 40 else 50},350,API log\n" for n in range(90))
    trace.write_text("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n" + rows)
    content = copy.deepcopy(BASE) | {"traces": {"chat": {"file": str(trace)}}, "warmupSeconds": 0}
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(content))
    arguments = [
        "bench",
        "--scenario",
        str(file),
        "--policies",
        "static-peak",
        "--seeds",
        "1",
        "--jobs",
        "1",
        "-o",
        "json",
    ]
    result = CliRunner().invoke(app, [*arguments, *(["--strict"] if strict else [])])
    if strict:
        assert result.exit_code == 2
        assert result.stderr == f"{file}: {trace}:42: Response tokens: '0' is not a whole number >= 1\n"
        return
    assert result.exit_code == 0
    assert f"{trace}: skipped 1 of 90 rows: line 42: Response tokens: '0' is not a whole number >= 1" in result.stderr
    assert json.loads(result.stdout)[0]["requests"]["mean"] == 89


def test_every_documented_policy_has_a_name():
    documented = (
        "pertoken clairvoyant static-peak hpa-gpu hpa-queue hpa-running keda-waiting kpa aibrix-apa wva-v1 wva-v2 "
        "llmd-queue llmd-token llmd-slo dynamo-sla ray-serve sageserve chiron"
    )
    assert set(documented.split()) <= set(names())
    with pytest.raises(UnknownPolicyError):
        benchmark.check_names(["pertoken", "nobody"])


@pytest.mark.parametrize("truth", [{}, {"decode": 1.4, "prefill": 0.7, "noise": 0.1, "spread": 0.2}])
def test_no_policy_beats_the_bound(truth):
    """Law, with every policy there is, and with fleets that are far too small."""
    scenario = short(420, 3, truth=truth, coldStartSeconds=60)
    result = bench(scenario, names(), [1])
    ratios = {row["policy"]: row["bound_ratio"]["mean"] for row in result.rows}
    assert any(ratio is not None for ratio in ratios.values())
    assert [policy for policy, ratio in ratios.items() if ratio is not None and ratio < 1.0] == []
    prepared = prepare(scenario, 1)
    bounds = bounds_of(prepared)[0]
    for replicas in (1, 2, 5):
        run = Run(prepared, Schedule({("chat", "a100"): [(0.0, replicas)]}), {"chat/a100": replicas})
        run.go()
        reached = attainment(run.fleet, 0)
        assert run.cluster.bill[0].usd >= least_usd(bounds, reached, prepared.scored)


@settings(max_examples=12, deadline=None)
@given(st.floats(1.0, 6.0), st.integers(1, 4), st.sampled_from([8, 64, 256]), st.floats(0.2, 3.0), st.integers(0, 5))
def test_no_static_fleet_beats_the_bound(rate, replicas, cap, length, seed):
    """Law over loads, caps and lengths, at whatever attainment comes out."""
    content = copy.deepcopy(BASE)
    content["traces"]["chat"] |= {"durationSeconds": 150, "rateScale": rate, "lengthScale": length}
    content["warmupSeconds"] = 0
    variant = content["services"][0]["spec"]["variants"][0]
    variant["batching"] |= {"maxSequences": cap, "minSequences": 4}
    variant["minReplicas"] = 0
    content["services"][0]["spec"] |= {"minReplicas": 0, "wakeSignal": {"source": "GatewayQueue"}}
    prepared = prepare(parse(content, FOLDER / "x.yaml"), seed)
    run = Run(prepared, Schedule({("chat", "a100"): [(0.0, replicas)]}), {"chat/a100": replicas})
    run.go(grace=60.0)
    bound = least_usd(bounds_of(prepared)[0], attainment(run.fleet, 0), prepared.scored)
    assert run.cluster.bill[0].usd >= bound


def test_the_bound_is_no_empty_claim():
    """A well filled static fleet comes within a factor of two and a half."""
    scenario = short(600, 8)
    prepared = prepare(scenario, 0)
    fleet = fleet_for(prepared, keeps_overall)
    count = fleet["chat", "a100"]
    usd = count * 1.49 / 3600 * (prepared.end - 60)
    assert 1.0 < usd / least_usd(bounds_of(prepared)[0], 0.95, prepared.scored) < 2.5


def test_bound_grows_with_attainment_and_with_minimum_replicas():
    prepared = prepare(SHORT, 0)
    bound = bounds_of(prepared)[0]
    at_shares = [least_usd(replace(bound, floor=0.0), share, prepared.scored) for share in (0.0, 0.5, 0.9, 1.0)]
    assert at_shares == sorted(at_shares)
    assert at_shares[0] == 0.0
    assert least_usd(bound, 0.0, prepared.scored) == pytest.approx(1.49 / 3600 * (prepared.end - 60))


@pytest.mark.parametrize("start", [0.0, 60.0, 450.0])
def test_requests_within_the_objectives_are_those_that_the_engine_counts(start):
    prepared = prepare(replace(SHORT, warmup=start), 0)
    run = Run(prepared, Schedule({}), {"chat/a100": 2})
    run.go()
    scored = run.fleet.trace.arrival >= start
    within = within_objectives(run.fleet)[scored]
    assert 0.0 < within.mean() < 1.0
    assert within.mean() == pytest.approx(attainment(run.fleet, 0), abs=1e-12)
    assert worst_share(run.fleet) == worst_share(run.fleet, 0) == pytest.approx(within.mean())  # less than ten minutes


@pytest.mark.parametrize(
    ("arrivals", "missed", "shares"),
    [
        ([], [], []),
        ([1.0] * 19, [], []),  # too few to tell
        ([1.0] * 20, [0, 1], [0.9]),
        ([599.9] * 20 + [600.0] * 40, range(20, 30), [1.0, 0.75]),
        ([0.0] * 20 + [1800.0] * 20, [], [1.0, 1.0]),  # nobody asks in between
    ],
)
def test_shares_by_ten_minutes(arrivals, missed, shares):
    within = np.ones(len(arrivals), dtype=bool)
    within[list(missed)] = False
    assert shares_by_window(np.array(arrivals, dtype=float), within).tolist() == pytest.approx(shares)


def test_same_seed_same_bytes_in_one_process_or_two():
    policies = ["hpa-running", "pertoken", "static-best"]
    alone, together = (bench(SHORT, policies, [0, 1], jobs=jobs) for jobs in (1, 2))
    assert json.dumps(alone.rows) == json.dumps(together.rows)
    assert page(alone) == page(together)


def test_same_bytes_on_a_dask_cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = bench(SHORT, ["hpa-running", "static-best"], [0, 1], dask=cluster.scheduler_address)
    assert json.dumps(there.rows) == json.dumps(bench(SHORT, ["hpa-running", "static-best"], [0, 1]).rows)


def test_tuning_scores_only_what_it_was_not_trained_on():
    scenario = short(900, 1)
    result = bench(scenario, ["hpa-running:tuned", "hpa-running"], [0])
    plain = bench(scenario, ["hpa-running"], [0])
    tuned, untuned = result.rows
    assert tuned["settings"] in [dict(point) for point in (*ENTRIES["hpa-running"].grid, {})]
    scored = prepare(scenario, 0).trace.arrival
    cut = 60 + (900 - 60) / 3
    assert untuned["requests"]["mean"] == tuned["requests"]["mean"] == (scored >= cut).sum()
    assert plain.rows[0]["requests"]["mean"] == (scored >= 60).sum()
    assert len(result.trials) == 9
    assert sum(trial["chosen"] for trial in result.trials) == 1


def test_clairvoyant_keeps_the_objective_for_less_than_any_static_fleet():
    prepared = prepare(load(FOLDER / "azure-conv.yaml"), 0)
    schedule = clairvoyant(prepared)
    run = Run(prepared, schedule, first_replicas(schedule))
    run.go()
    assert attainment(run.fleet, 0) >= 0.95
    best = fleet_for(prepared, keeps_overall)["chat", "a100"]
    assert run.cluster.bill[0].replica_seconds < best * (prepared.end - 300)
    peak = fleet_for(prepared, keeps_everywhere)["chat", "a100"]
    assert peak >= best


def test_pertoken_is_the_real_planner_and_keeps_the_objective():
    scenario = short(900, 3, coldStartSeconds=60)
    prepared = prepare(scenario, 0)
    policy = pertoken({})
    run = Run(prepared, policy, {"chat/a100": 2})
    run.go()
    assert policy.last is not None
    assert policy.saved.memory.services["bench/chat"].shape.input_tokens == pytest.approx(1100, rel=0.2)
    assert attainment(run.fleet, 0) > 0.8
    with pytest.raises(ValueError, match="knob 'speed' of pertoken"):
        pertoken({"speed": 1.0})


def test_schedules_hold_their_first_entry_from_the_beginning():
    steps = [(10.0, 3), (20.0, 1)]
    assert [at(steps, moment) for moment in (0.0, 10.0, 19.9, 20.0, 99.0)] == [3, 3, 3, 1, 1]


def test_memory_does_not_grow_with_the_requests_served():
    """Request records are used again: a long calm trace needs no more of them than a short one."""
    counts = []
    for seconds in (300, 3000):
        prepared = prepare(short(seconds, 2), 0)
        run = Run(prepared, Schedule({("chat", "a100"): [(0.0, 4)]}), {"chat/a100": 4})
        run.go()
        counts.append(run.fleet.state.records)
        assert run.fleet.state.services_f[0, 5] > 0
    assert counts[0] == counts[1]


def test_more_requests_at_once_than_records_exist():
    content = copy.deepcopy(BASE)
    content["traces"]["chat"] |= {"durationSeconds": 300, "rateScale": 60}
    content["warmupSeconds"] = 0
    prepared = prepare(parse(content, FOLDER / "x.yaml"), 0)
    run = Run(prepared, Schedule({("chat", "a100"): [(0.0, 1)]}), {"chat/a100": 1})
    run.go(grace=0.0)
    assert run.fleet.state.records > 4096
    assert run.fleet.in_system() + run.fleet.state.services_f[0, 5] == len(prepared.trace)


def test_intervals_are_students():
    per_seed = bench(SHORT, ["static-best"], [0, 1, 2]).outcomes["static-best"]
    row = over_seeds(per_seed)
    values = np.array([scored.figures["usd_per_million_tokens"] for scored in per_seed])
    half = 4.302653 * values.std(ddof=1) / math.sqrt(3)
    low, high = row["usd_per_million_tokens"]["interval"]
    assert (high - low) / 2 == pytest.approx(half, rel=1e-5)
    assert over_seeds(per_seed[:1])["usd"]["interval"] is None


def test_pareto_front():
    row = lambda name, usd, share: {"policy": name, "usd": {"mean": usd}, "slo_attainment": {"mean": share}}  # noqa: E731
    rows = [row("a", 3, 0.9), row("b", 1, 0.5), row("c", 2, 0.95), row("d", 4, 0.99), row("e", None, None)]
    assert pareto(rows) == ("b", "c", "d")


def test_the_operator_never_loads_the_simulator():
    code = "import pertoken.app, pertoken.cli.main, sys; print([m for m in sys.modules if m.startswith(('numba', 'joblib', 'pertoken_bench'))])"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Watching:
    """pertoken, and what its planner was shown."""

    def __init__(self, policy) -> None:
        self.policy, self.worlds = policy, []
        inner = policy.change

        def change(world):
            shown = world if inner is None else inner(world)
            self.worlds.append((world, shown))
            return shown

        policy.change = change


def watched(policy, seconds=300):
    watching = Watching(policy)
    run = Run(prepare(short(seconds, 3), 0), policy, {"chat/a100": 2})
    run.go()
    return watching


def test_the_planner_learns_the_scenario_s_start_up_from_the_first_replicas():
    policy = pertoken({})
    run = Run(prepare(short(200, 2, coldStartSeconds=400), 0), policy, {"chat/a100": 2})
    run.go()
    learnt = policy.saved.memory.services["bench/chat"].variants["a100"].start_seconds
    assert 360 <= learnt <= 440


def test_ablations_take_one_thing_away():
    fixed = ABLATIONS["pertoken:fixed-cap"]()
    seen = watched(fixed).worlds[-1][1]
    assert all(variant.workload.cap is None for view in seen.services for variant in view.variants)
    assert not ABLATIONS["pertoken:no-calibration"]().settings.calibrate
    blind = ABLATIONS["pertoken:no-lookahead"]()
    pods = watched(blind).worlds[-1][1].pods
    assert pods
    assert all(pod.created_at == pod.bound_at == pod.ready_at for pod in pods if pod.ready_at is not None)
    assert not blind.saved.memory.services["bench/chat"].variants["a100"].start_seconds
    assert blind.settings.start_seconds == 0
    worlds = watched(ABLATIONS["pertoken:requests"]()).worlds
    real, shown = (world.metrics["default"].pods for world in worlds[-1])
    assert real.keys() == shown.keys()
    serving = {key: pod for key, pod in shown.items() if Signal.GENERATION_TOKENS_PER_SECOND in pod.values}
    ratios = {
        round(pod.values[Signal.GENERATION_TOKENS_PER_SECOND] / pod.histograms[LatencyKind.TTFT].cumulative[-1], 6)
        for pod in serving.values()
    }
    assert len(ratios) == 1  # every pod's requests count the same
    assert any(
        real[key].values[Signal.GENERATION_TOKENS_PER_SECOND] != pod.values[Signal.GENERATION_TOKENS_PER_SECOND]
        for key, pod in serving.items()
    )


def test_foresight_orders_before_demand_comes():
    """A step in demand: replicas are ordered one start-up ahead."""
    prepared = prepare(short(900, 3, coldStartSeconds=120), 0)
    late = prepared.trace.take(
        np.flatnonzero((prepared.trace.arrival > 500) | (np.arange(len(prepared.trace)) % 8 == 0))
    )
    stepped = replace(prepared, trace=late)
    policy = foresight(stepped)
    run = Run(stepped, policy, {"chat/a100": 1})
    run.go()
    ordered = run.timeline().ordered["chat/a100"]
    times = run.timeline().times
    rise = next(moment for moment, count in zip(times, ordered, strict=True) if count > 1)
    assert 300 <= rise <= 420
