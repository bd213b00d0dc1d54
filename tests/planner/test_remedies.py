"""What would meet a cost target that is out of reach."""

import re
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import prices

from pertoken.accounting.cost_index import reachable, reachable_index
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.service import Parallelism
from pertoken.performance.coefficients import engine_model
from pertoken.performance.steady import Engine, Load, Sustainable, Targets, sustainable_rate
from pertoken.planner.conditions.remedies import Replica, remedies
from pertoken.planner.tuning import TUNING

EIGHT, SEVENTY = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"
CHAT = Load(1000.0, 200.0)


def replica(blended, model=EIGHT, *, tensor=1, cap=256, inter_token=0.03):
    gpu, usd, load = "a100-sxm-80gb", 2.45, CHAT
    shape = Parallelism(tensor=tensor)
    engine = Engine(engine_model(SHIPPED.known_model(model), SHIPPED.known_gpu(gpu), shape), cap=cap)
    targets = Targets(inter_token, 2.0)
    return Replica(model, gpu, shape, "", engine, usd * tensor, 0.9, load, targets, prices(blended))


def index_of(asked):
    point = sustainable_rate(asked.engine, asked.load, asked.targets)
    assert isinstance(point, Sustainable)
    return reachable_index(reachable(point, asked.load, asked.usd_per_hour / asked.carried), asked.load, asked.prices)


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        (replica("1"), ()),
        (replica("0.2", cap=8), ("a batch cap above 8",)),
        (replica("0.075"), ("objectives of inter-token",)),
        (replica("0.25", SEVENTY, tensor=4), ("a model as small as meta-llama/Llama-2-13b",)),
        (replica("0.045"), ("gh200 at 2.29 USD per GPU-hour (Lambda", "prices of tokens 1.88 times as high")),
    ],
    ids=["within reach", "a low cap", "a tight objective", "a large model", "an old GPU"],
)
def test_answers(asked, answers):
    told = "; ".join(remedies(asked, SHIPPED, TUNING.answers))

    assert bool(told) == bool(answers)
    for answer in answers:
        assert answer in told, told


@given(
    blended=st.decimals("0.01", "0.5", places=3).map(str),
    model=st.sampled_from([EIGHT, SEVENTY]),
    cap=st.sampled_from([8, 64, 256]),
    inter_token=st.sampled_from([0.02, 0.04, 0.08]),
)
@settings(max_examples=25, deadline=None)
def test_each_answer_meets_the_target_by_itself(blended, model, cap, inter_token):
    asked = replica(blended, model, tensor=4, cap=cap, inter_token=inter_token)
    told = "; ".join(remedies(asked, SHIPPED, TUNING.answers))
    if not told:
        assert (
            not isinstance(sustainable_rate(asked.engine, asked.load, asked.targets), Sustainable)
            or index_of(asked) <= 1
        )
        return
    index = index_of(asked)
    assert index > 1
    price = Decimal(re.match(r"([\d.]+) USD per GPU-hour", told)[1])
    assert index_of(replace(asked, usd_per_hour=float(price) * 4)) == pytest.approx(1, rel=0.02)
    if match := re.search(r"inter-token (\d+) ms and TTFT (\d+) ms", told):
        slower = Targets(float(match[1]) / 1000, float(match[2]) / 1000, 95)
        assert index_of(replace(asked, targets=slower)) <= 1.01
    if match := re.search(r"prefill chunk of (\d+)", told):
        model_of = asked.engine.model.with_batched_tokens(int(match[1]))
        assert index_of(replace(asked, engine=replace(asked.engine, model=model_of))) <= 1
    if "a batch cap above" in told:
        assert index_of(replace(asked, engine=replace(asked.engine, cap=None))) <= 1


def test_models_and_gpus_that_nobody_knows_leave_those_answers_out():
    asked = replace(replica("0.01"), model="", accelerator="unheard-of")
    told = remedies(asked, SHIPPED, TUNING.answers)

    assert told
    assert not any("weights in" in answer or "as small as" in answer or " at " in answer for answer in told)
