"""The kinds of group ``serving.pertoken.dev``, version ``v1alpha1``, as pydantic models: the CRDs' only source."""

GROUP = "serving.pertoken.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
INFERENCE_SERVICE_KIND = "InferenceService"
ACCELERATOR_POOL_KIND = "AcceleratorPool"
CAPACITY_PLAN_KIND = "CapacityPlan"
MODEL_ROUTE_KIND = "ModelRoute"
KIND_NAMES = (INFERENCE_SERVICE_KIND, ACCELERATOR_POOL_KIND, CAPACITY_PLAN_KIND, MODEL_ROUTE_KIND)
