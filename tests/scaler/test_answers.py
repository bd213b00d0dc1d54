"""What KEDA is answered, over a real connection: a table of all that a service can be in."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from cycling import eventually
from keda import Client, Plans, scaled_object, two_variants

from pertoken.control.objects import Refusal
from pertoken.domain.plan import Verdict
from pertoken.domain.reasons import Reason
from pertoken.domain.service import Mode
from pertoken.scaler import externalscaler_pb2 as wire
from pertoken.scaler.server import ScalerServer

Code = grpc.StatusCode


@pytest.fixture
async def plans():
    return Plans()


@pytest.fixture
async def client(plans):
    server = ScalerServer(plans.recommended, "127.0.0.1", 0)
    running = asyncio.create_task(server.run())
    await eventually(lambda: server.bound)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.bound}") as channel:
        yield Client(channel)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def fresh(plans):
    plans.lend("chat", 7)


def held(plans):
    plans.lend("chat", 2, unknown="newest sample of 2 pods is 75 s old")


def auto(plans):
    plans.lend("chat", 7, mode=Mode.AUTO)


def off(plans):
    plans.lend("chat", 7, mode=Mode.OFF)


def refused(plans):
    plans.service("chat")
    plans.refusals["uid-chat"] = Refusal("uid-chat", Reason.POOL_NOT_FOUND, "no accepted AcceleratorPool is named a100")


def unreadable(plans):
    plans.service("chat", spec=None, refusals=("spec.model.id: missing; expected a model",))


def leaving(plans):
    plans.service("chat", deleting=True)


def mixed(plans):
    plans.service("chat")
    plans.decide("chat", *two_variants())


SAYS_NOTHING = [
    (held, {"service": "chat"}, Code.UNAVAILABLE, "variant a100 of llm/chat: newest sample of 2 pods is 75 s old"),
    (auto, {"service": "chat"}, Code.FAILED_PRECONDITION, "has mode Auto: pertoken scales it itself; expected mode R"),
    (off, {"service": "chat"}, Code.FAILED_PRECONDITION, "has mode Off: nothing is recommended for it; expected mode"),
    (refused, {"service": "chat"}, Code.FAILED_PRECONDITION, "is not planned: no accepted AcceleratorPool is named a1"),
    (unreadable, {"service": "chat"}, Code.FAILED_PRECONDITION, "is not planned: spec.model.id: missing; expected a"),
    (leaving, {"service": "chat"}, Code.FAILED_PRECONDITION, "llm/chat is not planned: it is being deleted"),
    (fresh, {"service": "chatt"}, Code.NOT_FOUND, "there is no InferenceService llm/chatt; namespace llm has chat"),
    (fresh, {"service": "chat", "namespace": "b"}, Code.NOT_FOUND, "InferenceService b/chat; namespace b has none"),
    (fresh, {}, Code.INVALID_ARGUMENT, "metadata.service: missing; expected the name of an InferenceService"),
    (fresh, {"service": "chat", "variant": "b"}, Code.NOT_FOUND, "llm/chat has no variant b; it has a100"),
    (mixed, {"service": "chat"}, Code.INVALID_ARGUMENT, "metadata.variant: missing; InferenceService llm/chat has a10"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "metadata", "code", "words"),
    SAYS_NOTHING,
    ids=[f"{state.__name__}-{code.name}" for state, _, code, _ in SAYS_NOTHING],
)
async def test_what_is_no_number_is_an_error_with_its_reason(plans, client, state, metadata, code, words):
    state(plans)
    plans.turn()
    for ask in (client.metric, client.active):
        if ask == client.active and "namespace" in metadata:
            continue
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask(**metadata)
        assert error.value.code() is code
        assert words in error.value.details()


@pytest.mark.parametrize(
    ("desired", "current", "paused", "told"),
    [
        (7, 2, Verdict.FALSE, 7.0),
        (1, 2, Verdict.FALSE, 1.0),
        (0, 2, Verdict.FALSE, 0.0),
        (1, 0, Verdict.FALSE, 1.0),
        (7, 2, Verdict.TRUE, 2.0),
        (7, 0, Verdict.TRUE, 0.0),
    ],
    ids=["more", "less", "to zero", "woken", "paused", "paused at zero"],
)
async def test_the_metric_is_the_count_that_is_recommended(plans, client, desired, current, paused, told):
    plans.lend("chat", desired, current, paused=paused)
    plans.turn()

    assert await client.metric(service="chat") == told
    assert await client.active(service="chat") == (told > 0)


async def test_a_variant_is_asked_for_by_its_name(plans, client):
    mixed(plans)
    plans.turn()

    assert [await client.metric(service="chat", variant=name) for name in ("a100", "h100")] == [3.0, 5.0]


@pytest.mark.parametrize(
    ("cycle_seconds", "age", "words"),
    [(15.0, 60.0, ""), (15.0, 60.5, "the last plan is 60 s old, more than 60 s"), (1.0, 9.0, ""), (1.0, 11.0, "11 s")],
)
async def test_a_plan_that_is_old_is_told_no_more(cycle_seconds, age, words):
    plans = Plans(cycle_seconds=cycle_seconds)
    fresh(plans)
    plans.turn()
    plans.clock.at += age

    assert words in plans.recommended.trouble()
    assert bool(plans.recommended.trouble()) == bool(words)


async def test_before_the_first_plan_of_a_term_nothing_is_known(plans, client):
    fresh(plans)

    async def told():
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.metric(service="chat")
        return error.value.code(), error.value.details()

    assert await told() == (Code.UNAVAILABLE, "there is no plan yet")
    plans.turn()
    assert await client.metric(service="chat") == 7.0
    plans.leader.term += 1
    assert await told() == (Code.UNAVAILABLE, "there is no plan yet")


async def test_the_metric_has_a_target_of_one_whatever_is_known(client):
    for spec in (
        await client.call("GetMetricSpec")(scaled_object()),
        await client.call("StreamMetricSpec")(scaled_object()).read(),
    ):
        (metric,) = spec.metricSpecs
        assert (metric.metricName, metric.targetSize, metric.targetSizeFloat) == ("desired-replicas", 1, 1.0)


async def test_another_metric_does_not_exist(plans, client):
    fresh(plans)
    plans.turn()
    asked = wire.GetMetricsRequest(scaledObjectRef=scaled_object(service="chat"), metricName="queue")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await client.call("GetMetrics")(asked)

    assert error.value.code() is Code.INVALID_ARGUMENT
    assert error.value.details() == "metricName: 'queue'; expected desired-replicas"


async def test_activity_is_pushed_at_once_and_when_it_changes(plans, client):
    plans.lend("chat", 0, 0)
    plans.turn()
    pushed = client.call("StreamIsActive")(scaled_object(service="chat"))
    assert (await pushed.read()).result is False

    for desired in (0, 0, 2):  # nothing is pushed for the first two
        plans.lend("chat", desired, 0)
        plans.turn()
        await asyncio.sleep(0.05)
    plans.lend("chat", 2, 2, unknown="Prometheus gave no answer")
    plans.turn()
    await asyncio.sleep(0.05)
    plans.lend("chat", 0, 2)
    plans.turn()
    assert [(await pushed.read()).result for _ in range(2)] == [True, False]

    plans.lend("chat", 1, mode=Mode.AUTO)
    plans.turn()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await pushed.read()
    assert error.value.code() is Code.FAILED_PRECONDITION
