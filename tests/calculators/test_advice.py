"""Advice: single changes that keep the objectives, and what they cost."""

from dataclasses import fields
from decimal import Decimal
from math import ceil, exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertoken.calculators.advice import Surety, advise, against_api, rate_at_budget, surety
from pertoken.calculators.changes import Choice, Kind, OtherModel, PricedGpu, smaller_models
from pertoken.calculators.fleet import Demand, Requests, Setup, fleet
from pertoken.calculators.lengths import Lengths, answer_lengths, cut_answers, longest, refused_prompts
from pertoken.calculators.tuning import TUNING
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism, PriceList
from pertoken.performance.coefficients import engine_model
from pertoken.performance.memory import count
from pertoken.performance.steady import Engine, Load, Sustainable, Targets, sustainable_rate
from pertoken.performance.step_time import Gains
from pertoken.planner.tuning import TUNING as PLANNERS

EIGHT, SEVENTY = SHIPPED.known_model("llama-3.1-8b"), SHIPPED.known_model("llama-3.1-70b")
THREE = SHIPPED.known_model("llama-3.2-3b")
H100, L4, H200 = (SHIPPED.known_gpu(name) for name in ("h100-sxm", "l4", "h200-sxm"))
GPUS = (PricedGpu(H200, Decimal("3.50"), "a list"), PricedGpu(L4, Decimal("0.78"), "a list"))
NONE = Choice((), ())
CHANGED = {
    Kind.MODEL: {"model", "quantization", "samples"},
    Kind.QUANTIZATION: {"quantization", "samples"},
    Kind.GPU: {"gpu", "usd_per_gpu_hour", "price_source", "gains", "samples"},
    Kind.WIDTH: {"parallelism", "samples"},
    Kind.CONTEXT: {"context_limit"},
    Kind.OUTPUT: set(),
    Kind.CAP: {"cap"},
    Kind.CHUNK: {"chunk"},
}


def setup(model=EIGHT, gpu=H100, price="3.00", tensor=1, **given):
    return Setup(model, gpu, Decimal(price), "own", Parallelism(tensor=tensor), **given)


def requests(input_tokens=1000.0, output_tokens=200.0, cached=0.0):
    load = Load(input_tokens, output_tokens, cached)
    lengths = answer_lengths(load)
    return Requests(load, (lengths.quantile(0.5), lengths.quantile(0.95)))


def demand(rate=40.0, inter_token=0.04, ttft=2.0, **given):
    return Demand(rate, Targets(inter_token, ttft), 0.9, **given)


def kinds(advice):
    return {row.change.kind for row in advice.rows}


def row_of(advice, kind, after):
    rows = [row for row in advice.rows if row.change.kind is kind and row.change.after.startswith(after)]
    return min(rows, key=lambda row: row.change.widened)


SETUPS = st.builds(
    setup,
    model=st.sampled_from([EIGHT, SEVENTY]),
    tensor=st.sampled_from([4, 8]),
    cap=st.sampled_from([None, 16, 96, 256]),
    quantization=st.sampled_from(["", "fp8"]),
    context_limit=st.sampled_from([None, 8192, 32768]),
    gains=st.sampled_from([Gains(), Gains(1.3, 0.9, 0.02)]),
    samples=st.sampled_from([0, 100]),
)
REQUESTS = st.builds(
    requests,
    st.floats(10, 4000),
    st.floats(2, 1000),
    st.sampled_from([0.0, 0.5]),
)
DEMANDS = st.builds(
    demand,
    st.floats(0.01, 300),
    st.sampled_from([0.012, 0.03, 0.08, None]),
    st.sampled_from([0.3, 3.0, None]),
    peak_factor=st.sampled_from([1.0, 2.5]),
    min_replicas=st.sampled_from([1, 3]),
)


@given(setup=SETUPS, asked=REQUESTS, wanted=DEMANDS)
@settings(max_examples=25, deadline=None)
def test_each_change_by_itself_keeps_the_objectives_and_costs_what_its_row_says(setup, asked, wanted):
    choice = Choice(GPUS, smaller_models(setup, SHIPPED.models))
    advice = advise(setup, asked, wanted, choice, everything=True)
    for row in advice.rows:
        after, load = row.change.setup, row.change.requests.load
        model = engine_model(after.model, after.gpu, after.parallelism, after.quantization)
        engine = Engine(model.with_batched_tokens(after.chunk), after.gains, after.cap)
        point = sustainable_rate(engine, load, wanted.targets)
        assert isinstance(point, Sustainable)
        assert wanted.targets.inter_token is None or point.point.inter_token_tail <= wanted.targets.inter_token
        assert wanted.targets.ttft is None or point.point.ttft_tail <= wanted.targets.ttft
        replicas = max(wanted.min_replicas, ceil(wanted.rate * wanted.peak_factor / (point.rate * 0.9) - 1e-9))
        hourly = replicas * float(after.usd_per_gpu_hour) * after.parallelism.gpus
        assert row.fleet.replicas == replicas
        assert row.fleet.usd_per_month == pytest.approx(hourly * 730)
        assert row.saved_usd_per_month == pytest.approx(advice.present.usd_per_month - hourly * 730, abs=1e-6)
        tokens = wanted.rate * 3600 * (load.input_tokens + load.output_tokens)
        assert row.fleet.usd_per_million == pytest.approx(hourly / tokens * 1e6)


@given(setup=SETUPS, asked=REQUESTS, wanted=DEMANDS)
@settings(max_examples=10, deadline=None)
def test_a_row_changes_what_it_names_and_nothing_else(setup, asked, wanted):
    choice = Choice(GPUS, (OtherModel(THREE),))
    for row in advise(setup, asked, wanted, choice, everything=True).rows:
        other = row.change.setup
        changed = {field.name for field in fields(Setup) if getattr(setup, field.name) != getattr(other, field.name)}
        assert changed <= CHANGED[row.change.kind] | ({"parallelism"} if row.change.widened else set())
        if row.change.kind not in {Kind.CONTEXT, Kind.OUTPUT}:
            assert row.change.requests == asked


@given(setup=SETUPS, asked=REQUESTS, wanted=DEMANDS, share=st.floats(0.1, 4.0))
@settings(max_examples=25, deadline=None)
def test_prices_of_answers_add_up_to_the_bill(setup, asked, wanted, share):
    """The mean answer costs the mean request's part of the bill, and every further token the same."""
    mean = asked.load.output_tokens
    one = fleet(setup, Requests(asked.load, (mean, mean * (1 + share))), wanted)
    two = fleet(setup, Requests(asked.load, (mean * (1 + 2 * share), mean)), wanted)
    if one is None:
        return
    bill = one.replicas * setup.usd_per_hour / 3600 / wanted.rate * 1000
    assert one.usd_per_thousand[0] == pytest.approx(bill)
    assert two.usd_per_thousand[0] - one.usd_per_thousand[1] == pytest.approx(one.usd_per_thousand[1] - bill)


def test_rows_are_sorted_by_what_they_save():
    advice = advise(setup(cap=64), requests(), demand(200.0), Choice(GPUS, smaller_models(setup(), SHIPPED.models)))
    saved = [round(row.saved_usd_per_month, 2) for row in advice.rows]

    assert saved == sorted(saved, reverse=True)
    assert saved[0] > 0
    assert all(each >= 0 for each in saved)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (setup(cap=16), "", Kind.CAP),
        (setup(), "fp8", Kind.QUANTIZATION),
        (setup(SEVENTY, tensor=8), "4 GPUs", Kind.WIDTH),
        (setup(SEVENTY, tensor=4), "h200-sxm", Kind.GPU),
        (setup(), "meta-llama/Llama-3.2-3B", Kind.MODEL),
    ],
    ids=["cap", "quantization", "width", "gpu", "model"],
)
def test_what_saves_is_told(before, after, kind):
    choice = Choice(GPUS, smaller_models(before, SHIPPED.models))
    row = row_of(advise(before, requests(), demand(300.0), choice), kind, after)

    assert row.saved_usd_per_month > 0


def test_a_service_that_keeps_its_objectives_is_told_of_no_dearer_change_unless_asked():
    few, all_of_them = (advise(setup(), requests(), demand(1.0), Choice(GPUS, ()), everything=e) for e in (False, True))

    assert Kind.WIDTH not in kinds(few)
    assert row_of(all_of_them, Kind.WIDTH, "2 GPUs").saved_usd_per_month == pytest.approx(-3.00 * 730)


def test_where_an_objective_is_missed_what_keeps_it_is_told_though_it_costs_more():
    """One L4 reads the weights in 50 ms; two of them keep 40 ms."""
    advice = advise(setup(gpu=L4, price="0.78"), requests(), demand(0.1), NONE)

    assert advice.present.missed.what == "inter-token"
    assert not advice.present.keeps
    assert row_of(advice, Kind.WIDTH, "2 GPUs").saved_usd_per_month < 0
    assert advice.kept


def test_nothing_keeps_an_objective_below_what_any_engine_can():
    advice = advise(setup(), requests(), demand(inter_token=1e-4), Choice(GPUS, (OtherModel(THREE),)))

    assert advice.rows == ()
    assert not advice.kept
    assert advice.context is None


def test_a_cost_target_counts_as_an_objective():
    listed = PriceList(Decimal("0.001"), Decimal("0.001"), Decimal("0.001"))
    advice = advise(setup(), requests(), demand(prices=listed), NONE)

    assert advice.present.missed is None
    assert advice.present.index > 1
    assert not advice.kept


@pytest.mark.parametrize(
    ("changed", "sure"),
    [
        (setup(samples=15), Surety.CALIBRATED),
        (setup(samples=14), Surety.MEASURED),
        (setup(gpu=SHIPPED.known_gpu("gh200")), Surety.MODELLED),
    ],
)
def test_how_sure_figures_are(changed, sure):
    assert surety(changed) is sure


def test_what_was_learnt_here_is_not_known_of_another_gpu_width_or_precision():
    here = setup(SEVENTY, tensor=8, cap=32, samples=500, gains=Gains(0.8, 1.2, 0.1))
    advice = advise(here, requests(), demand(60.0), Choice(GPUS, ()), everything=True)
    known = {row.change.kind for row in advice.rows if row.surety is Surety.CALIBRATED}

    assert known == {Kind.CAP, Kind.CHUNK, Kind.OUTPUT, Kind.CONTEXT}
    assert row_of(advice, Kind.GPU, "h200-sxm").change.setup.gains == Gains(1.0, 1.2, 0.1)


def test_a_gpu_that_holds_only_part_of_the_context_takes_a_limit():
    advice = advise(setup(), requests(), demand(5.0, inter_token=0.2), Choice(GPUS, ()), everything=True)
    note = row_of(advice, Kind.GPU, "l4").change.note

    assert "takes a context limit of" in note
    tokens = engine_model(EIGHT, L4, Parallelism()).kv_capacity
    assert tokens - 1024 < int(note.split(" limit of ")[1].split()[0]) <= tokens


def test_a_promised_context_rules_out_gpus_that_do_not_hold_it():
    long = setup(context_limit=100_000)
    advice = advise(long, requests(), demand(5.0, inter_token=0.2), Choice(GPUS, ()), everything=True)

    assert not any(row.change.after == "l4" for row in advice.rows)


def test_another_precision_is_tried_with_other_widths_and_told_where_that_saves_more():
    advice = advise(setup(SEVENTY, tensor=4), requests(), demand(2.0, inter_token=0.06), NONE)
    alone, with_width = row_of(advice, Kind.QUANTIZATION, "fp8"), row_of(advice, Kind.QUANTIZATION, "fp8, ")

    assert with_width.change.after == "fp8, 2 GPUs"
    assert with_width.saved_usd_per_month == pytest.approx(2 * 3.00 * 730)
    assert alone is with_width or alone.saved_usd_per_month < with_width.saved_usd_per_month
    assert advice.rows.index(with_width) <= advice.rows.index(alone)


def test_of_several_widths_only_the_one_that_saves_most_is_told():
    advice = advise(setup(SEVENTY, tensor=8), requests(), demand(2.0, inter_token=0.06), Choice(GPUS, ()))
    told = [(row.change.kind, row.change.setup.precision, row.change.setup.gpu.id) for row in advice.rows]
    for row in advice.rows:
        if row.change.widened:
            alike = (row.change.kind, row.change.setup.precision, row.change.setup.gpu.id)
            assert told.count(alike) <= 2
            assert told.index(alike) == advice.rows.index(row)
    assert any(row.change.widened for row in advice.rows)


def test_of_models_of_unknown_quality_the_largest_that_save_are_told():
    before = setup(SHIPPED.known_model("qwen3-32b"), tensor=2)
    choice = Choice((), smaller_models(before, SHIPPED.models))
    few, every = (advise(before, requests(), demand(40.0), choice, everything=e) for e in (False, True))
    told, saving = (
        {
            row.change.setup.model.id
            for row in advice.rows
            if row.change.kind is Kind.MODEL and row.saved_usd_per_month > 0
        }
        for advice in (few, every)
    )

    assert len(told) == TUNING.most_unknown < len(saving)
    smallest = min(count(SHIPPED.known_model(each)).total for each in told)
    assert all(count(SHIPPED.known_model(each)).total <= smallest for each in saving - told)


def test_a_gpu_that_pays_only_with_fewer_of_them_is_told():
    dear = PricedGpu(H200, Decimal("3.20"), "a list")
    advice = advise(
        setup(SEVENTY, price="2.50", tensor=4), requests(), demand(2.0, inter_token=0.05), Choice((dear,), ())
    )
    gpus = [row for row in advice.rows if row.change.kind is Kind.GPU]

    assert [row.change.after for row in gpus] == ["h200-sxm, 2 GPUs"]
    assert gpus[0].saved_usd_per_month > 0


def test_longer_contexts_cost_more_and_cached_ones_less_than_computed_ones():
    advice = advise(setup(), requests(cached=0.2), demand(), NONE)

    assert 0 < advice.cached_context.usd_per_month < advice.context.usd_per_month
    per_thousand = advice.context.usd_per_thousand_requests
    assert advice.context.usd_per_month == pytest.approx(per_thousand / 1000 * 40.0 * 3600 * 730)


def test_a_budget_buys_whole_replicas():
    wanted = demand(peak_factor=2.0)
    one = fleet(setup(tensor=2), requests(), wanted)

    assert rate_at_budget(one, wanted, 17.9) == pytest.approx(2 * one.carried / 2.0)
    assert rate_at_budget(one, wanted, 18.0) == pytest.approx(3 * one.carried / 2.0)
    assert rate_at_budget(one, wanted, 5.9) == 0
    assert rate_at_budget(fleet(setup(price="0"), requests(), wanted), wanted, 5.9) is None


def test_an_api_is_compared_at_the_cached_share_and_at_the_load():
    wanted, asked = demand(20.0), requests(cached=0.5)
    one = fleet(setup(), asked, wanted)
    compared = against_api(one, wanted, PriceList(Decimal("0.10"), Decimal("0.02"), Decimal("0.40")))

    per_request = (500 * 0.10 + 500 * 0.02 + 200 * 0.40) / 1e6
    assert compared.api_usd_per_month == pytest.approx(per_request * 20 * 3600 * 730)
    assert compared.thresholds.first == pytest.approx(3.00 / 3600 / per_request)
    assert compared.utilization == pytest.approx(20.0 / (one.replicas * one.carried))


def test_weights_that_leave_no_cache_are_no_present_setup():
    advice = advise(setup(SEVENTY), requests(), demand(), NONE)

    assert advice.present is None
    assert row_of(advice, Kind.WIDTH, "4 GPUs").saved_usd_per_month < 0


@given(mean=st.floats(1, 1e4), share=st.floats(0.01, 0.99), spread=st.floats(0.2, 3.0))
def test_lengths_above_a_quantile_are_the_rest(mean, share, spread):
    lengths = Lengths(mean, spread)

    assert lengths.above(lengths.quantile(share)) == pytest.approx(1 - share, abs=1e-6)
    assert lengths.mean_within(1e9) == pytest.approx(mean)
    assert lengths.square_within(1e9) == pytest.approx(mean * mean * (1 + spread))


@given(mean=st.floats(1, 1e4), limit=st.floats(0.1, 5.0))
def test_exponential_lengths_have_the_known_means(mean, limit):
    lengths, left = Lengths(mean, 1.0), exp(-limit)

    assert lengths.mean_within(limit * mean) == pytest.approx(mean * (1 - left))
    assert lengths.mean_below(limit * mean) == pytest.approx(mean * (1 - limit * left / (1 - left)))


def test_a_limit_that_nothing_reaches_leaves_requests_as_they_are():
    load = Load(1000.0, 200.0)

    assert cut_answers(load, 1e6).output_tokens == pytest.approx(200.0)
    assert cut_answers(load, 1e6).resident == pytest.approx(load.resident)
    assert refused_prompts(load, 1e6).input_tokens == pytest.approx(1000.0)
    assert cut_answers(load, 200).resident < load.resident
    assert 1000 < longest(load, TUNING.refused) < longest(load, TUNING.refused / 10)


def test_advice_trusts_a_calibration_when_the_planner_does():
    assert TUNING.calibrated == PLANNERS.evidence.calibrated_samples
