"""Published vectors of the workload-variant-autoscaler and inferno, reproduced (see data/README.md)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertoken_bench.policies import queueing, wva_allocate, wva_saturation, wva_slo, wva_tokens

DATA = json.loads(gzip.decompress((Path(__file__).parent / "data" / "wva_vectors.json.gz").read_bytes()))
GROUPS = {group["id"]: group for group in DATA["groups"]}
Case = dict[str, Any]


def step(case: Case) -> queueing.StepTime:
    return queueing.StepTime(case["alpha"], case["beta"], case["gamma"])


def replica(case: Case, analysis: queueing.Analysis = queueing.Analysis.MEAN) -> queueing.ReplicaQueue:
    size = queueing.RequestSize(case["I"], max(case["O"], 1))
    batch, queue = case.get("maxBatch", 256), case.get("maxQueue", 0)
    tokens = case.get("max_num_batched_tokens", queueing.BATCHED_TOKENS)
    return queueing.ReplicaQueue(step(case), size, batch, queue, analysis, tokens)


def prefill(case: Case, expected: float) -> None:
    # Upstream takes 0 output tokens here: the same as 1 but for the mean of the resident tokens.
    n, i = case["batch"], case["I"]
    engine = replica(case).prefill(n)
    if i:
        with_one = case["alpha"] + n * (case["beta"] * (i + 1) / 2 + case["gamma"] * (i + 0.5))
        engine += case["alpha"] + n * (case["beta"] * i + case["gamma"] * i) - with_one
    assert engine == pytest.approx(expected, rel=1e-5)


def decode(case: Case, expected: float) -> None:
    assert replica(case).decode(case["batch"]) == pytest.approx(expected, rel=1e-5)


def validity(case: Case, expected: float) -> None:
    def make() -> queueing.ReplicaQueue:
        size = queueing.RequestSize(case.get("I", 0), case.get("O", 10))
        return queueing.ReplicaQueue(
            queueing.StepTime(1, 0.01, 0.001), size, case.get("maxBatch", 8), case.get("maxQueue", 16)
        )

    if not expected:
        make()
        return
    with pytest.raises(ValueError, match="must be"):
        make()


def readme(case: Case, expected: Case) -> None:
    analyzer = queueing.Analyzer(replica(case))
    assert analyzer.highest == pytest.approx(expected["max_rate"], rel=2e-4)
    if "rps" in case:
        at = analyzer.at(case["rps"])
    else:
        sized = analyzer.size(queueing.MeanObjectives(case["slo_ttft"], case["slo_itl"]))
        assert sized is not None
        assert sized.rate_ttft == pytest.approx(expected["rate_ttft"], rel=2e-4)
        assert sized.rate_inter_token == pytest.approx(expected["rate_itl"], rel=2e-4)
        at = sized.at
    figures = (at.state.throughput, at.state.response, at.state.in_service, at.ttft, at.inter_token)
    assert figures == pytest.approx(
        [expected[key] for key in ("throughput", "resp", "in_service", "ttft", "itl")], rel=2e-4
    )


def optimize(case: Case, expected: Case) -> None:
    objectives = queueing.MeanObjectives(case["slo_ttft"], case["slo_itl"])
    best = queueing.best_batch(replica(case, queueing.Analysis.CHUNKED), objectives)
    assert (best.batch, best.calls, best.feasible) == (
        expected["concurrency"],
        expected["calls"],
        expected["feasible"],
    )
    assert best.throughput == pytest.approx(expected["throughput"], rel=2e-4)
    if "M_ITL" in expected:
        assert (best.by_inter_token, best.by_prefill) == (expected["M_ITL"], expected["M_TPF"])


def chunked(case: Case, expected: Case) -> None:
    queue = replica(case, queueing.Analysis.CHUNKED)
    assert queue.chunks(case["batch"]) == expected["chunks"]
    chunks = queue.chunked(case["batch"], expected["chunks"])
    times = (chunks.iteration, chunks.prefill, chunks.inter_token, chunks.service)
    assert times == pytest.approx([expected[key] for key in ("t_iter", "prefill", "itl", "tau")], rel=1e-5)


def birth_death(case: Case, expected: Case) -> None:
    state = queueing.stationary(np.array(case["mu"], dtype=float), case["K"], case["lam"])
    assert (state.in_system, state.throughput) == pytest.approx((expected["L"], expected["tput"]), rel=1e-6)


def size_grid(case: Case, expected: Case) -> None:
    sized = queueing.Analyzer(replica(case)).size(queueing.MeanObjectives(case["slo_ttft"], case["slo_itl"]))
    assert sized is not None
    figures = (sized.rate_ttft, sized.rate_inter_token, sized.throughput, sized.at.inter_token, sized.at.ttft)
    wanted = [expected[key] for key in ("rate_ttft", "rate_itl", "throughput", "itl", "ttft")]
    assert figures == pytest.approx(wanted, rel=1e-4)


def allocation(case: Case, expected: Case) -> None:
    perf = case["perf"]
    batch = wva_slo.batch_for(perf["maxBatchSize"], perf["atTokens"], case["O"])
    cost = case["acc_cost"] * perf["accCount"]
    offer = wva_slo.AcceleratorOffer(case["accelerator"], step(perf), batch, cost, case["min_replicas"])
    objectives = queueing.MeanObjectives(case["slo_ttft"], case["slo_itl"], case["slo_tps"])
    size = queueing.RequestSize(case["I"], case["O"])
    allocated = wva_slo.allocate(offer, case["rpm"] / 60, size, objectives)
    assert allocated is not None
    assert (allocated.replicas, batch, allocated.cost) == (
        expected["replicas"],
        expected["max_batch"],
        expected["cost"],
    )
    assert (allocated.inter_token, allocated.ttft) == pytest.approx(
        (expected["itl"], expected["ttft_as_reported"]), rel=5e-3
    )


def zero_load(case: Case, expected: Case) -> None:
    offer = wva_slo.AcceleratorOffer("gpu", queueing.StepTime(5, 0.2, 0), 16, case["acc_cost"], case["min_replicas"])
    allocated = wva_slo.allocate(offer, 0.0, queueing.RequestSize(0, 1), queueing.MeanObjectives(100, 100))
    assert allocated == wva_slo.AcceleratorChoice("gpu", expected["replicas"], expected["cost"])


def transition(case: Case, expected: float) -> None:
    old, new = (wva_slo.AcceleratorChoice(*case[key]) for key in ("a", "b"))
    assert wva_slo.move_value(old, new) == pytest.approx(expected, abs=1e-4)


def v1_signals(case: Case, expected: Case) -> None:
    config = case["config"]
    settings = wva_saturation.SaturationSettings(
        config["kvCacheThreshold"],
        config["queueLengthThreshold"],
        config["kvSpareTrigger"],
        config["queueSpareTrigger"],
    )
    analysis = wva_saturation.analyze([wva_saturation.ReplicaLoad(kv, q) for kv, q in case["replicas"]], settings)
    names = {"non_saturated": analysis.free, "spare_q": analysis.spare_queue}
    for key, value in expected.items():
        assert names.get(key, getattr(analysis, key, None)) == pytest.approx(value), key


def v1_targets(case: Case, expected: Case) -> None:
    verdict = wva_saturation.ModelSaturation(1, 1, 0.0, 0.0, up=case["up"], down_safe=case["down_safe"])
    states = [wva_saturation.ModelVariant(**variant) for variant in case["variants"]]
    assert wva_saturation.targets(verdict, states) == expected


def v1_limiter(case: Case, expected: Case) -> None:
    asks = [
        wva_saturation.Ask(
            d["name"], d["current"], d["target"], d["gpus"], d["spare"], d["cost"], d.get("min", 0), d.get("max")
        )
        for d in case["decisions"]
    ]
    limits = wva_saturation.limit(asks, case["free"])
    assert limits.targets == expected["targets"]
    assert limits.free == expected.get("free", limits.free)
    if "limited" in expected:
        assert limits.limited == {name for name, limited in expected["limited"].items() if limited}


def enforcer(case: Case, expected: Case) -> None:
    kept = [wva_saturation.VariantTarget(**decision) for decision in case["decisions"]]
    assert wva_saturation.enforce(kept, case["requests"], to_zero=case["s2z"]) == expected


def v2_capacity(case: Case, expected: Case) -> None:
    settings = wva_tokens.TokenSettings(case["kvCacheThreshold"], case["queueLengthThreshold"])
    records = wva_tokens.CapacityRecords(settings)
    params = case.get("params")
    flags = wva_tokens.EngineFlags(params["B"], params["S"]) if params else None
    capacities = [
        records.capacity("m", wva_tokens.ReplicaTokens(s["kv_total"], s["in_use"], s["q"], s["I"], s["O"]), flags)
        for s in case["steps"]
    ]
    assert capacities[-1] == expected["cap"]


def v2_params(case: Case, expected: float) -> None:
    flags = wva_tokens.EngineFlags(case["B"], case["S"])
    assert wva_tokens.formula_capacity(flags, case["I"], case["O"]) == pytest.approx(expected)


def v2_zero_replica(case: Case, expected: float) -> None:
    live = case["effective"] if case["learned"] == "live" else None
    flags = wva_tokens.EngineFlags(case["B"], case["S"]) if "B" in case else None
    known = wva_tokens.ZeroReplica(
        live, case.get("effective"), flags, case.get("compatible_live"), case.get("kv_total")
    )
    capacity = known.capacity(case.get("I", 0), case.get("O", 0), wva_tokens.TokenSettings())
    assert capacity == pytest.approx(expected)


def v2_waiting(case: Case, expected: float) -> None:
    only = case["role"] == "prefill"
    assert wva_tokens.waiting_tokens(case["q"], case["I"], case["O"], prefill_only=only) == expected


def held(case: Case) -> wva_tokens.HeldQueue:
    return wva_tokens.HeldQueue(case["size"], case["bytes"], case["I"], case["O"], case["hit"])


def v2_scheduler_queue(case: Case, expected: Case) -> None:
    assert held(case).demand == pytest.approx(expected["total"])


def v2_total_demand(case: Case, expected: Case) -> None:
    assert sum(case["resident"]) + held(case).demand == pytest.approx(expected["total"])


def v2_fallback(case: Case, expected: Case) -> None:
    only = case["role"] == "prefill"
    waiting = wva_tokens.waiting_tokens(case["q"], case["I"], case["O"], prefill_only=only)
    capacity = wva_tokens.without_cache_info(case["stored"], case["kv"], waiting, wva_tokens.TokenSettings())
    assert capacity == (expected["cap"], expected["demand"])


def v2_median(case: list[float], expected: int) -> None:
    assert wva_tokens.median(case) == expected


def v2_threshold(case: Case, expected: Case) -> None:
    balanced = wva_tokens.balance(case["demand"], case["supply"], case["anticipated"], wva_tokens.TokenSettings())
    for key, value in expected.items():
        assert getattr(balanced, key) == pytest.approx(value)


def choice(variant: Case) -> wva_allocate.Choice:
    return wva_allocate.Choice(
        variant["name"],
        variant["cost"],
        variant["cap"],
        variant["current"],
        variant.get("min", 0),
        variant.get("max"),
        variant.get("acc", ""),
        variant.get("gpus", 1),
    )


def cost_aware(case: Case, expected: Case) -> None:
    replicas = wva_allocate.cost_aware(case["required"], case["spare"], [choice(v) for v in case["variants"]])
    assert {name: replicas[name] for name in expected} == expected


def greedy(case: Case, expected: Case) -> None:
    needs = [
        wva_allocate.ModelNeed(
            model["name"],
            model["required"],
            model["spare"],
            [choice(v) for v in model["variants"]],
            (model["priority"] or 1) * (model["score"] or 1),
        )
        for model in case["models"]
    ]
    replicas = wva_allocate.greedy_by_score(needs, case["gpus"])
    assert {name: replicas[name] for name in expected} == expected


def cost_fault(case: Case, expected: Case) -> None:
    choices = [choice(v) for v in case["variants"]]
    replicas = wva_allocate.cost_aware(case["required"], case["spare"], choices)
    paid = sum(replicas[c.name] * c.cost for c in choices)
    assert paid == expected["wva_cost"] >= expected["optimum_cost"]


CHECKS: dict[str, Callable[[Any, Any], None]] = {
    "qa_prefill_abg": prefill,
    "qa_decode_abg": decode,
    "qa_validity": validity,
    "qa_readme_old": readme,
    "qa_optimize": optimize,
    "qa_optimize_36": optimize,
    "qa_chunked_primitives": chunked,
    "mm1_properties": birth_death,
    "inferno_alloc_small": allocation,
    "inferno_alloc_large": allocation,
    "inferno_zero_load": zero_load,
    "inferno_transition_penalty": transition,
    "v1_analyze": v1_signals,
    "v1_doc_examples": v1_signals,
    "v1_targets": v1_targets,
    "v1_limiter": v1_limiter,
    "v2_capacity": v2_capacity,
    "v2_params": v2_params,
    "v2_zero_replica": v2_zero_replica,
    "v2_waiting": v2_waiting,
    "v2_scheduler_queue": v2_scheduler_queue,
    "v2_total_demand": v2_total_demand,
    "v2_fallback": v2_fallback,
    "v2_median": v2_median,
    "v2_threshold": v2_threshold,
    "cost_aware": cost_aware,
    "greedy_by_score": greedy,
    "enforcer": enforcer,
    "hist_cost_bug": cost_fault,
    "qa_size_grid_computed": size_grid,
}


def test_every_group_is_checked():
    assert set(CHECKS) == set(GROUPS)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_vectors_are_reproduced(group: str):
    vectors = GROUPS[group]
    assert vectors["cases"]
    for case in vectors["cases"]:
        expected = case.get("expected", case.get("expected_error"))
        CHECKS[group](case["input"], expected)
