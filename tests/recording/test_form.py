"""What a recording holds of a cycle is all that its plan is made on, and comes back as it was."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from routed import Gateway, route_spec
from states import NOW, Variant, memory_of, world_of

from pertoken.catalog.lookup import SHIPPED
from pertoken.control.account_and_plan import account_and_plan
from pertoken.control.recording import parts
from pertoken.control.recording.form import BadRecording, Decided, Decoder, Encoder, Header, header_line, plan_data
from pertoken.control.saved import Saved
from pertoken.domain.cluster import PodFact
from pertoken.domain.identity import PodKey
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot, Offer, PodMetrics
from pertoken.domain.signal import Counter, Histogram, LatencyKind, Signal
from pertoken.domain.world import PlannerSettings, PoolView, ServiceView, World
from pertoken.planner.tuning import TUNING

HEADER = Header("0.1.0", TUNING, SHIPPED)
FLOATS = st.floats(allow_nan=False)
st.register_type_strategy(float, FLOATS)
st.register_type_strategy(Decimal, st.decimals(allow_nan=False, allow_infinity=False))
KEYS = st.builds(PodKey, st.text(), st.text())
METRICS = st.builds(
    PodMetrics,
    pod=KEYS,
    age_seconds=FLOATS,
    values=st.dictionaries(st.sampled_from(Signal), FLOATS),
    counters=st.dictionaries(st.sampled_from(Counter), FLOATS),
    histograms=st.dictionaries(
        st.sampled_from(LatencyKind), st.builds(Histogram, st.tuples(FLOATS, FLOATS), st.tuples(FLOATS, FLOATS))
    ),
    engine=st.text(),
    release=st.text(),
    lacks=st.frozensets(st.one_of(st.sampled_from(Signal), st.sampled_from(LatencyKind), st.sampled_from(Counter))),
    per_token=st.booleans(),
)
QUEUES = st.dictionaries(st.tuples(st.text(), st.text()), FLOATS)
SNAPSHOTS = st.builds(
    MetricsSnapshot,
    health=st.from_type(MetricsHealth),
    window_seconds=FLOATS,
    fresh_seconds=FLOATS,
    pods=st.lists(METRICS).map(lambda pods: {metrics.pod: metrics for metrics in pods}),
    gateway_queue=QUEUES,
    gateway_rejections_per_second=QUEUES,
    offers=st.dictionaries(st.text(), st.from_type(Offer)),
    wake_signals=st.dictionaries(st.tuples(st.text(), st.text(), st.text()), FLOATS),
    gateways=st.frozensets(st.text()),
)
SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def back(*cycles: tuple[Decided, bool]):
    """These cycles of one segment, written and read."""
    encoder, decoder = Encoder(), Decoder()
    lines = [header_line(HEADER), *(encoder.line(cycle, continues=continues) for cycle, continues in cycles)]
    read = [decoder.line(line) for line in lines]
    return [cycle for cycle in read if cycle is not None]


def decided(world: World, number: int = 1, saved: Saved | None = None) -> Decided:
    started = saved or Saved(memory_of(Variant()))
    plan, _ = account_and_plan(world, started, NOW)
    return Decided(number, NOW, world, started, plan)


@pytest.mark.parametrize(
    ("kind", "adapter"),
    [(ServiceView, parts.SERVICE), (PoolView, parts.POOL), (PodFact, parts.POD), (PlannerSettings, parts.SETTINGS)],
)
def test_any_part_comes_back_as_it_was(kind, adapter):
    @SLOW
    @given(st.from_type(kind))
    def law(value):
        assert parts.read(adapter, parts.json.loads(parts.written(value)), "") == value

    law()


@SLOW
@given(SNAPSHOTS)
def test_any_metrics_come_back_as_they_were(snapshot):
    form = parts.json.loads(parts.written(parts.snapshot_form(snapshot)))

    assert parts.snapshot_of(form) == snapshot
    assert list(parts.snapshot_of(form).pods) == list(snapshot.pods)


def test_no_field_of_a_world_or_of_its_metrics_is_left_out():
    written = {"services", "pools", "pods", "metrics", "catalog", "settings", "routes"}
    assert {item.name for item in fields(World)} == written | {"costs"}, "costs are worked out anew"
    assert {item.name for item in fields(parts.SnapshotForm)} == {item.name for item in fields(MetricsSnapshot)}


def test_routes_come_back_as_they_were():
    world = replace(world_of(Variant()), routes=(Gateway().view(route_spec()),))
    (recorded,) = back((decided(world), False))

    assert recorded.world == world


def test_a_cycle_comes_back_as_it_was():
    cycle = decided(world_of(Variant()))
    (recorded,) = back((cycle, False))

    assert (recorded.world, recorded.saved) == (cycle.world, cycle.started_from)
    assert (recorded.number, recorded.now, recorded.continues) == (1, NOW, False)
    assert recorded.plan == plan_data(cycle.plan)
    assert (recorded.header.tuning, recorded.header.catalog) == (TUNING, SHIPPED)


def test_what_has_not_changed_is_not_written_again():
    first = world_of(Variant(replicas=3))
    changed = replace(first.pods[0], restarts=7)
    second = replace(first, pods=(changed, *first.pods[2:], first.pods[1]))
    encoder = Encoder()
    encoder.line(decided(first), continues=False)
    line = encoder.line(decided(second, 2), continues=True)

    assert line.count(changed.uid.encode()) == 1
    assert first.pods[1].uid.encode() not in line
    assert b'"saved":null' in line
    assert [cycle.world for cycle in back((decided(first), False), (decided(second, 2), True))] == [first, second]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "no JSON"),
        (b"[1]", "a JSON list"),
        (b"{}", "kind: None; expected 'pertoken recording'"),
        (b'{"kind": "pertoken recording", "format": 2, "version": "9.9"}', "format: 2 of pertoken 9.9; expected 1"),
        (b'{"kind": "pertoken recording", "format": 1}', "tuning"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_header_is_named(line, words):
    with pytest.raises(BadRecording, match=r"^[^\n]+$") as mistake:
        Decoder().line(line)
    assert words in str(mistake.value)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b'"settings":{', b'"nothing":{', "settings: missing"),
        (b'"cycle_seconds":15.0', b'"cycle_seconds":"soon"', "cycle_seconds"),
        (b'"pools":[', b'"pools":[0,', "not a cycle"),
        (b'"mode":"Auto"', b'"mode":"Sometimes"', "mode"),
        (b'"now":', b'"now":[],"then":', "now: []"),
        (b'"version":3', b'"version":99', "not a state"),
        (b'"plan":{', b'"plan":3,"plans":{', "plan"),
    ],
)
def test_a_cycle_that_is_not_whole_is_named_in_one_line(before, after, words):
    decoder = Decoder()
    decoder.line(header_line(HEADER))
    line = Encoder().line(decided(world_of(Variant())), continues=False)
    assert before in line

    with pytest.raises(BadRecording) as mistake:
        decoder.line(line.replace(before, after, 1))
    assert words in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_fields_of_other_versions_are_left_out_or_take_their_defaults():
    line = Encoder().line(decided(world_of(Variant())), continues=False)
    newer = line.replace(b'"tolerance":0.05', b'"tolerance":0.05,"colour":"blue"').replace(
        b'"calibrate":true', b'"x":1'
    )
    assert newer != line
    decoder = Decoder()
    decoder.line(header_line(HEADER))

    assert decoder.line(newer).world == decided(world_of(Variant())).world
