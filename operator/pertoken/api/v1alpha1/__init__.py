"""The kinds of group ``serving.pertoken.dev``, version ``v1alpha1``, as pydantic models: the CRDs' only source."""

GROUP = "serving.pertoken.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
