import csv
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertoken.catalog.lookup import SHIPPED, quantization_of
from pertoken.domain.service import Parallelism
from pertoken.performance.step_time import (
    decode_step,
    engine_model,
    iteration_time,
    kv_bytes_per_token,
    kv_sequences,
    marginal_prefill_time,
    mean_decode_step,
    prefill_time,
    smooth_max,
)

DATA = Path(__file__).parent / "data" / "aic_reference_sample.csv"


def engine(model="meta-llama/Llama-3.1-8B", gpu="h100-sxm", tensor=1, quantization="bf16"):
    return engine_model(SHIPPED.model(model), SHIPPED.gpu(gpu), Parallelism(tensor=tensor), quantization)


def rows(moe):
    with DATA.open() as file:
        return [row for row in csv.DictReader(file) if bool(row["moe_layout"]) == moe]


def errors(kept, modelled, measured):
    return [abs(modelled(row) / float(row[measured]) - 1) for row in kept if float(row[measured] or 0) > 0]


def of(row):
    return engine(row["model"], row["gpu"], int(row["tp"]))


def decode_ms(row):
    context = int(row["isl"]) + int(row["osl"]) / 2
    return decode_step(of(row), int(row["batch"]), context) * 1e3


def prefill_ms(row):
    return prefill_time(of(row), int(row["isl"])) * 1e3


def kv_tokens(row):
    return of(row).kv_capacity


@pytest.mark.parametrize(
    ("moe", "modelled", "measured", "middle", "tail"),
    [
        (False, decode_ms, "decode_step_ms_mid", 0.04, 0.10),
        (False, prefill_ms, "prefill_ms_b1", 0.06, 0.16),
        (False, kv_tokens, "kv_capacity_tokens", 0.02, 0.08),
        (True, decode_ms, "decode_step_ms_mid", 0.08, 0.24),
    ],
    ids=["dense decode", "dense prefill", "KV capacity", "experts decode"],
)
def test_errors_against_measured_kernels(moe, modelled, measured, middle, tail):
    misses = errors(rows(moe), modelled, measured)

    assert len(misses) > 50
    assert median(misses) < middle
    assert quantiles(misses, n=10)[-1] < tail


@pytest.mark.parametrize(("a", "b"), [(1.0, 3.0), (3.0, 1.0), (2.0, 2.0)])
def test_the_smooth_maximum_lies_above_both(a, b):
    assert max(a, b) <= smooth_max(a, b) <= 1.19 * max(a, b) + 1e-12


@given(batch=st.floats(0.1, 600), more=st.floats(0.01, 100), context=st.floats(10, 8000))
def test_mean_decode_step_grows_with_the_batch(batch, more, context):
    model = engine()

    assert mean_decode_step(model, batch + more, context) > mean_decode_step(model, batch, context)


@given(tokens=st.integers(1, 20_000), more=st.integers(1, 5000))
def test_prefill_grows_with_the_prompt(tokens, more):
    model = engine()

    assert prefill_time(model, tokens + more) > prefill_time(model, tokens)


def test_an_empty_step_takes_no_time():
    assert iteration_time(engine(), 0, 0, 0, 0) == 0.0
    assert prefill_time(engine(), 0) == 0.0
    assert marginal_prefill_time(engine(), 0, 4) == 0.0


def test_a_batch_is_padded_to_the_next_graph_and_runs_eagerly_above_the_largest():
    model = engine()

    assert decode_step(model, 9, 0) == decode_step(model, 16, 0)
    assert decode_step(model, 17, 0, cap=8) > decode_step(model, 17, 0)


def test_prompts_that_ride_along_cost_less_than_prompts_alone():
    model = engine()

    assert marginal_prefill_time(model, 500, 32) < marginal_prefill_time(model, 500, 0) == prefill_time(model, 500)


def test_a_cached_prefix_makes_the_rest_of_a_prompt_dearer_than_a_prompt_of_that_length():
    model = engine()

    assert prefill_time(model, 1000, past=8000) > prefill_time(model, 1000)


@pytest.mark.parametrize(
    ("model_id", "tensor", "expected"),
    [
        ("meta-llama/Llama-3.1-8B", 1, 131072),
        ("meta-llama/Llama-3.1-8B", 2, 65536),
        ("meta-llama/Llama-3.1-8B", 16, 16384),
        ("deepseek-ai/DeepSeek-V3", 8, 61 * 576 * 2),
    ],
    ids=["one GPU", "shared heads", "replicated heads", "latent attention is not divided"],
)
def test_kv_bytes(model_id, tensor, expected):
    assert kv_bytes_per_token(SHIPPED.model(model_id), tensor) == expected


def test_quantized_weights_read_less_and_leave_room():
    plain, eight = (
        engine("meta-llama/Llama-3.1-70B", "h200-sxm", 2),
        engine("meta-llama/Llama-3.1-70B", "h200-sxm", 2, "fp8"),
    )

    assert decode_step(eight, 8, 1000) < 0.65 * decode_step(plain, 8, 1000)
    assert eight.kv_capacity > plain.kv_capacity


def test_published_precision_is_kept():
    assert engine("openai/gpt-oss-120b").weights_gib == pytest.approx(62, abs=4)


def test_a_copy_in_16_bits_of_a_model_published_in_4_is_as_wide_as_it_says():
    wide = engine("openai/gpt-oss-120b", quantization=quantization_of("unsloth/gpt-oss-120b-BF16"))
    assert wide.weights_gib == pytest.approx(2 * 116.8e9 / 2**30, rel=0.02)


@pytest.mark.parametrize(
    ("gpu", "asked", "narrow"), [("h100-sxm", "", 2), ("a100-sxm-80gb", "", 1), ("a100-sxm-80gb", "fp8", 2)]
)
def test_a_checkpoints_own_narrow_cache_counts_where_the_gpu_has_the_type_or_a_flag_asks(gpu, asked, narrow):
    model = SHIPPED.model("meta-llama/Llama-3.1-8B")
    with_scheme = replace(model, kv_quantization="fp8")
    plain = engine_model(model, SHIPPED.gpu(gpu), Parallelism()).kv_bytes
    assert plain / engine_model(with_scheme, SHIPPED.gpu(gpu), Parallelism(), kv_quantization=asked).kv_bytes == narrow


def test_weights_that_do_not_fit_leave_no_cache():
    assert engine("meta-llama/Llama-3.1-70B", "l4").kv_capacity == 0


def test_sliding_windows_cap_the_cost_of_context():
    full, windowed = engine(), engine("openai/gpt-oss-120b")
    growth = [decode_step(model, 64, 8000) / decode_step(model, 64, 100) for model in (full, windowed)]

    assert growth[1] < growth[0]


def test_kv_overflow_leaves_room_for_fluctuation():
    assert kv_sequences(100_000, 1000, 0.0, 2.33) == pytest.approx(100)
    assert kv_sequences(100_000, 1000, 1.0, 2.33) == pytest.approx(79.3, abs=0.5)
    assert kv_sequences(100_000, 0, 1.0, 2.33) == float("inf")


def test_the_token_budget_can_be_replaced():
    model = engine()
    assert model.with_batched_tokens(2048).batched_tokens == 2048
    assert model.with_batched_tokens(None) is model
