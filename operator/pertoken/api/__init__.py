"""The Kubernetes kinds as pydantic models, their translation to the domain, and the generated CRDs."""
