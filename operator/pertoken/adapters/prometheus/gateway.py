"""The inference gateway's endpoint picker with flow control; it exports the newer prefix beside the older one.

A queue of a model begins with the model's first request; how full its pool is, the picker tells as long as flow control
is on (llm-d-router, `pkg/epp/metrics` and the dispatch cycle of `pkg/epp/flowcontrol`).
"""

from __future__ import annotations

from typing import Final

LABELS: Final = ("inference_pool", "model_name", "fairness_id", "priority")
QUEUE: Final = ("llm_d_epp_flow_control_queue_size", "inference_extension_flow_control_queue_size")
PRESENCE: Final = ("llm_d_epp_flow_control_pool_saturation", "inference_extension_flow_control_pool_saturation")
REFUSALS: Final = (
    "llm_d_epp_flow_control_request_queue_duration_seconds_count",
    "inference_extension_flow_control_request_queue_duration_seconds_count",
)
REFUSED: Final = ("outcome", "=~", "Rejected.*|Evicted.*")
