from dataclasses import replace

import pytest
from accounts import pod, service, snapshot, tells, view, world
from hypothesis import given
from hypothesis import strategies as st

from pertoken.accounting.attribution import charged, charged_by_list, mean_work, token_work, weights, weights_at, work
from pertoken.accounting.billed import billed_service
from pertoken.accounting.cost_index import Tokens
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.cost import TokenWork
from pertoken.domain.service import Parallelism
from pertoken.performance.steady import Engine, Load, at_batch
from pertoken.performance.step_time import Gains, engine_model, marginal_prefill_time, mean_decode_step, prefill_time

DENSE = engine_model(SHIPPED.model("llama-3.1-8b"), SHIPPED.gpu("h100"), Parallelism())
EXPERTS = engine_model(SHIPPED.model("qwen3-30b-a3b"), SHIPPED.gpu("h100"), Parallelism())
LOAD = Load(2000, 300)


def test_the_parts_are_the_means_of_both_orders():
    batch = 24.0
    work_done = work(Engine(DENSE), LOAD, batch)
    alone, joined = prefill_time(DENSE, 2000), marginal_prefill_time(DENSE, 2000, batch)
    decode_alone = mean_decode_step(DENSE, batch, LOAD.resident) * LOAD.steps / batch

    assert work_done.prefill_low == pytest.approx(joined)
    assert work_done.prefill_high == pytest.approx(alone)
    assert work_done.prefill == pytest.approx((alone + joined) / 2)
    assert work_done.decode == pytest.approx((decode_alone + (decode_alone + joined - alone)) / 2)


def test_all_work_at_an_operating_point_is_the_engines_time():
    engine = Engine(DENSE, Gains(1.2, 0.9))
    point = at_batch(engine, LOAD, 20.0)

    assert work(engine, LOAD, 20.0).together * point.rate == pytest.approx(1.0, rel=1e-6)


def test_more_gpus_take_more_gpu_time():
    assert work(Engine(DENSE), LOAD, 8.0, gpus=4).together == pytest.approx(4 * work(Engine(DENSE), LOAD, 8.0).together)


loads = st.builds(Load, st.floats(1, 30000), st.floats(1, 4000), st.floats(0, 1))


@given(model=st.sampled_from([DENSE, EXPERTS]), load=loads, batch=st.floats(0.01, 512))
def test_shapley_lies_between_the_orders_and_gives_out_everything(model, load, batch):
    work_done = work(Engine(model), load, batch)

    assert 0 <= work_done.prefill_low <= work_done.prefill <= work_done.prefill_high <= work_done.together * (1 + 1e-12)
    assert work_done.prefill + work_done.decode == pytest.approx(work_done.together)
    assert 0 <= work_done.cached <= work_done.prefill * (1 + 1e-12)
    per_token = weights(work_done, load)
    charged = (
        per_token.input * load.computed_tokens
        + per_token.cached_input * (load.input_tokens - load.computed_tokens)
        + per_token.output * load.output_tokens
    )
    assert charged == pytest.approx(work_done.together, rel=1e-6)


def test_cached_input_is_cheaper_than_computed_and_not_free():
    weights = weights_at(Engine(DENSE), Load(8000, 200, 0.5), 16.0)

    assert 0 < weights.cached_input < weights.input / 2


def test_output_costs_more_than_input_and_less_in_larger_batches():
    small, large = weights_at(Engine(DENSE), LOAD, 4.0), weights_at(Engine(DENSE), LOAD, 64.0)

    assert small.output > 20 * small.input
    assert large.output < small.output / 4
    assert large.output > large.input


def test_a_request_without_output_is_all_prefill():
    work_done = work(Engine(DENSE), Load(500, 0), 4.0)

    assert work_done.decode == pytest.approx(0.0, abs=1e-12)
    assert weights(work_done, Load(500, 0)).output == 0.0


def test_the_ends_of_the_interval_move_the_prices_apart():
    first, middle, last = (
        weights_at(Engine(DENSE), LOAD, 16.0, o) for o in ("prefill-first", "shapley", "decode-first")
    )

    assert first.input > middle.input > last.input
    assert first.output < middle.output < last.output
    with pytest.raises(ValueError, match="order"):
        weights_at(Engine(DENSE), LOAD, 16.0, "random")


def test_the_work_per_token_holds_the_interval_of_the_output():
    at_point = token_work(Engine(DENSE), LOAD, 16.0)
    shapley = weights_at(Engine(DENSE), LOAD, 16.0)

    assert (at_point.input, at_point.cached_input, at_point.output) == (
        shapley.input,
        shapley.cached_input,
        shapley.output,
    )
    assert at_point.output_low < at_point.output < at_point.output_high


@given(
    new=st.floats(0, 1e6),
    cached=st.floats(0, 1e6),
    output=st.floats(0, 1e6),
    seconds=st.floats(0, 1e5),
    cost=st.sampled_from([service().cost, None]),
)
def test_the_list_spreads_exactly_the_gpu_time_that_there_was(new, cached, output, seconds, cost):
    parts = charged_by_list(Tokens(1, new + cached, cached, output), cost, seconds)
    whole = parts.input + parts.cached_input + parts.output

    assert whole == pytest.approx(seconds if new + cached + output > 1e-3 else whole, rel=1e-6)
    assert parts.output_low == parts.output == parts.output_high


def test_work_of_several_variants_counts_by_their_output():
    spec = service()
    seen = view(spec, [pod(), pod("chat-1")])
    metrics = snapshot(tells(generation_tokens_per_second=30.0), tells("chat-1", generation_tokens_per_second=10.0))
    variants = []
    for name, variant_pod in zip(("a100", "b200"), seen.variants[0].pods, strict=True):
        variants.append(replace(seen.variants[0], spec=replace(spec.variants[0], name=name), pods=(variant_pod,)))
    seen = replace(seen, variants=tuple(variants))
    billed = billed_service(seen, world(seen, metrics=metrics), 1000.0)
    on_a100, on_b200 = TokenWork(1, 2, 3, 4, 5), TokenWork(5, 6, 7, 8, 9)

    assert mean_work(billed, {"a100": on_a100, "b200": on_b200}) == TokenWork(2, 3, 4, 5, 6)
    assert mean_work(billed, {"b200": on_b200}) == on_b200
    assert mean_work(billed, {}) is None


def test_cached_tokens_are_no_computed_ones():
    parts = charged(Tokens(1, 100, 40, 10), TokenWork(1, 0.1, 5, 4, 6))

    assert (parts.input, parts.cached_input, parts.output) == (60, 4, 50)
    assert (parts.output_low, parts.output_high) == (40, 60)
