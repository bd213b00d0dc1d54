"""Status of both kinds. Only pertoken writes it; figures are decimal strings so that no float enters the API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pertoken.api.v1alpha1.base import LIST_LENGTH, MOST_INT, Instant, Name, Shown, Strict, keyed

Figure = Annotated[str, Field(max_length=24)]
Message = Annotated[str, Field(max_length=1024)]


class StatusCondition(Strict):
    """One aspect of the object's state."""

    type: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Aspect, in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Why, one word in CamelCase.")
    message: Message = Field(description="Why, in a sentence with numbers.")
    last_transition_time: Instant = Field(description="When the status last changed.")
    observed_generation: int | None = Field(
        default=None, ge=0, le=MOST_INT, description="Generation that this was said of."
    )


class CalibrationStatus(Strict):
    """What was learnt about a variant; gains multiply modelled times, 1.00 means that the model was right."""

    decode_gain: Figure | None = Field(default=None, description="Factor on modelled decode steps.")
    prefill_gain: Figure | None = Field(default=None, description="Factor on modelled prefill times.")
    ttft_offset_milliseconds: Shown | None = Field(
        default=None, description="Added to the modelled time to first token."
    )
    samples: Shown | None = Field(default=None, description="Observations behind the figures.")


class VariantStatus(Strict):
    """One variant as observed and as decided."""

    name: Name = Field(description="Name of the variant.")
    replicas: Shown = Field(description="Replicas asked of the workload.")
    desired_replicas: Shown = Field(description="Replicas that the last decision wants.")
    ready_replicas: Shown = Field(description="Replicas that serve.")
    reason: str = Field(max_length=63, description="Why the desired replicas are what they are.")
    gpus_per_replica: Shown | None = Field(default=None, description="GPUs that one replica requests.")
    batch_cap: Shown | None = Field(default=None, description="Sequences at most, of an engine that starts now.")
    desired_batch_cap: Shown | None = Field(default=None, description="Cap that the last decision wants.")
    batched_tokens: Shown | None = Field(
        default=None, description="Tokens per step (prefill chunk) of an engine that starts now."
    )
    desired_batched_tokens: Shown | None = Field(default=None, description="Tokens per step that the plan wants.")
    batch_reason: str | None = Field(default=None, max_length=63, description="Why the desired cap is what it is.")
    batch_message: Message | None = Field(default=None, description="The same in a sentence.")
    pods_on_new_cap: Shown | None = Field(
        default=None,
        description="Pods that already run with the cap and the tokens per step of an engine that starts now.",
    )
    operating_batch: Figure | None = Field(default=None, description="Sequences decoding at once per ready replica.")
    output_tokens_per_second_per_replica: Figure | None = Field(
        default=None, description="Output that one replica sustains within the objectives."
    )
    gpu_utilization: Figure | None = Field(default=None, description="Mean GPU utilization in percent.")
    kv_cache_usage: Figure | None = Field(default=None, description="Share of the KV cache in use, in percent.")
    calibration: CalibrationStatus | None = Field(default=None, description="What was learnt about the variant.")


class AttributionStatus(Strict):
    """The bill by what it bought: work is charged to tokens by GPU time, the rest is shown in shares of the bill."""

    input: Figure | None = Field(default=None, description="Work of a computed input token, USD per 1,000,000.")
    cached_input: Figure | None = Field(default=None, description="Work of a cached input token, USD per 1,000,000.")
    output: Figure | None = Field(default=None, description="Work of an output token, USD per 1,000,000.")
    output_low: Figure | None = Field(default=None, description="Output if the shared weight reads are the prompts'.")
    output_high: Figure | None = Field(default=None, description="Output if the shared weight reads are its own.")
    work: Figure | None = Field(default=None, description="Share of the bill that did work, in percent.")
    idle: Figure | None = Field(default=None, description="Share of serving GPUs that stood still, in percent.")
    warming: Figure | None = Field(default=None, description="Share of pods that did not serve yet, in percent.")
    unallocated: Figure | None = Field(
        default=None, description="Share of whole nodes and commitments that nobody held, in percent."
    )


class TokenPricesStatus(Strict):
    """Prices by kind of token, USD per 1,000,000."""

    input: Figure | None = Field(default=None, description="Computed input.")
    cached_input: Figure | None = Field(default=None, description="Input that hits the prefix cache.")
    output: Figure | None = Field(default=None, description="Output.")


class CostStatus(Strict):
    """Live cost, in USD; prices per 1,000,000 tokens."""

    index: Figure | None = Field(default=None, description="Bill / tokens at the price list; the target is at most 1.")
    blended: Figure | None = Field(default=None, description="Cost of a token of any kind.")
    input: Figure | None = Field(default=None, description="Price of input that adds up to the bill.")
    cached_input: Figure | None = Field(default=None, description="Price of cached input that adds up to the bill.")
    output: Figure | None = Field(
        default=None,
        description="Price of output that adds up to the bill (list times index; without a list, by GPU time).",
    )
    marginal: Figure | None = Field(default=None, description="Cost of one more token at the operating point.")
    idle_share: Figure | None = Field(default=None, description="Share of billed GPU time without work, in percent.")
    per_thousand_requests: Figure | None = Field(default=None, description="Cost of 1,000 requests.")
    bill: Figure | None = Field(default=None, description="GPU bill of the observed part of the window.")
    window_seconds: Shown | None = Field(default=None, description="Part of the window that was observed, in seconds.")
    finished_requests: Shown | None = Field(default=None, description="Requests finished in it.")
    reachable: Figure | None = Field(default=None, description="Lowest blended cost within the latency objective.")
    reachable_index: Figure | None = Field(default=None, description="Cost index at that cost.")
    spend_per_hour: Figure | None = Field(default=None, description="Cost of an hour of the GPUs held now.")
    attribution: AttributionStatus | None = Field(default=None, description="The bill by what it bought.")
    good_low: Figure | None = Field(
        default=None, description="Cost of a token of requests within the latency objectives, at least."
    )
    good_high: Figure | None = Field(default=None, description="The same, at most (histograms yield bounds).")
    joules_per_token: Figure | None = Field(default=None, description="GPU energy of a token of any kind.")
    one_more: TokenPricesStatus | None = Field(
        default=None,
        description="One more token now: nothing on idle replicas, on full ones what a further replica asks for it.",
    )
    replica: TokenPricesStatus | None = Field(
        default=None, description="Prices of tokens that take a further replica: what more load adds to the bill."
    )


class LatencyStatus(Strict):
    """Measured latency at the objective's percentile; the value certainly lies between low and high."""

    percentile: Shown | None = Field(default=None, description="Percentile of the figures.")
    ttft_milliseconds: Shown | None = Field(default=None, description="Time to first token.")
    ttft_low_milliseconds: Shown | None = Field(default=None, description="Lower histogram edge.")
    ttft_high_milliseconds: Shown | None = Field(default=None, description="Upper histogram edge.")
    inter_token_milliseconds: Figure | None = Field(default=None, description="Mean time per output token.")
    inter_token_low_milliseconds: Figure | None = Field(default=None, description="Lower histogram edge.")
    inter_token_high_milliseconds: Figure | None = Field(default=None, description="Upper histogram edge.")
    stall_milliseconds: Figure | None = Field(default=None, description="Gap between two tokens, where it is owed.")
    stall_low_milliseconds: Figure | None = Field(default=None, description="Lower histogram edge.")
    stall_high_milliseconds: Figure | None = Field(default=None, description="Upper histogram edge.")


class DemandNow(Strict):
    """Demand as measured."""

    input_tokens_per_second: Figure | None = Field(default=None, description="Input tokens per second.")
    output_tokens_per_second: Figure | None = Field(default=None, description="Output tokens per second.")
    requests_per_second: Figure | None = Field(default=None, description="Requests per second.")
    running: Figure | None = Field(default=None, description="Requests in the engines.")
    waiting: Figure | None = Field(default=None, description="Requests in queues.")


class DemandForecast(Strict):
    """Demand expected when a replica started now would be ready."""

    output_tokens_per_second: Figure | None = Field(default=None, description="Output tokens per second.")


class DemandStatus(Strict):
    """Demand now and ahead."""

    now: DemandNow | None = Field(default=None, description="Demand as measured.")
    forecast: DemandForecast | None = Field(default=None, description="Demand at the end of the lead.")
    lead_seconds: Shown | None = Field(default=None, description="Learnt start-up time that the forecast looks ahead.")


class VariantRecommendation(Strict):
    """What would be done to one variant."""

    name: Name = Field(description="Name of the variant.")
    replicas: Shown = Field(description="Replicas to set.")
    batch_cap: Shown | None = Field(default=None, description="Batch cap to set.")
    batched_tokens: Shown | None = Field(default=None, description="Tokens per step to set.")
    reason: str = Field(max_length=63, description="Why.")


class Recommendation(Strict):
    """What pertoken would do if it were allowed to act."""

    summary: Message = Field(description="In one sentence.")
    variants: list[VariantRecommendation] = Field(
        max_length=LIST_LENGTH, json_schema_extra=keyed("name"), description="By variant."
    )


class Savings(Strict):
    """Spend avoided against keeping every variant at its maximum."""

    per_month: Figure | None = Field(default=None, description="USD per month of 730 hours at the present rate.")
    baseline: str | None = Field(default=None, max_length=63, description="What it is compared with.")


class InferenceServiceStatus(Strict):
    """What is, and what was decided."""

    observed_generation: int | None = Field(
        default=None, ge=0, le=MOST_INT, description="Generation that the last decision saw."
    )
    conditions: list[StatusCondition] | None = Field(
        default=None, max_length=LIST_LENGTH, json_schema_extra=keyed("type"), description="Aspects of the state."
    )
    replicas: Shown | None = Field(default=None, description="Replicas asked of all workloads together.")
    desired_replicas: Shown | None = Field(default=None, description="Replicas that the last decision wants, in sum.")
    ready_replicas: Shown | None = Field(default=None, description="Replicas that serve, in sum.")
    batch_summary: str | None = Field(
        default=None, max_length=63, description="Operating batch / cap of the first variant; an arrow shows a change."
    )
    cost_index: Figure | None = Field(default=None, description="Bill / tokens at the price list.")
    cost_per_million_tokens: Figure | None = Field(default=None, description="Blended cost in USD.")
    gpu_utilization: Figure | None = Field(default=None, description="Mean GPU utilization in percent.")
    variants: list[VariantStatus] | None = Field(
        default=None, max_length=LIST_LENGTH, json_schema_extra=keyed("name"), description="By variant."
    )
    cost: CostStatus | None = Field(default=None, description="Live cost.")
    latency: LatencyStatus | None = Field(default=None, description="Measured latency.")
    demand: DemandStatus | None = Field(default=None, description="Demand now and ahead.")
    reason: str | None = Field(default=None, max_length=63, description="Headline of the last decision.")
    message: Message | None = Field(default=None, description="The last decision in a sentence.")
    recommendation: Recommendation | None = Field(
        default=None, description="What pertoken would do, in Recommend mode."
    )
    calibration: Message | None = Field(default=None, description="How well the performance model fits, in a sentence.")
    savings: Savings | None = Field(default=None, description="Spend avoided.")
    released_generation: int | None = Field(
        default=None,
        ge=0,
        le=MOST_INT,
        description="With deletionPolicy Orphan: generation from which on owned workloads outlive this object.",
    )


class AcceleratorPoolStatus(Strict):
    """GPUs of the pool at the last cycle."""

    observed_generation: int | None = Field(
        default=None, ge=0, le=MOST_INT, description="Generation that the figures belong to."
    )
    conditions: list[StatusCondition] | None = Field(
        default=None, max_length=LIST_LENGTH, json_schema_extra=keyed("type"), description="Aspects of the state."
    )
    total: Shown | None = Field(default=None, description="GPUs that exist.")
    used: Shown | None = Field(default=None, description="GPUs that pods occupy.")
    free: Shown | None = Field(default=None, description="GPUs that nobody occupies.")
    placeable: Shown | None = Field(
        default=None,
        description="GPUs that a replica of the largest size in use could get, on nodes that some service may use.",
    )
    pending: Shown | None = Field(default=None, description="GPUs that pods wait for.")
    spend_per_hour: Figure | None = Field(default=None, description="Cost of the occupied GPUs, USD per hour.")
    shadow_price: Figure | None = Field(
        default=None, description="What one more GPU would save, USD per hour; 0 when none is missing."
    )
