"""pertoken: a Kubernetes operator for the economics of LLM inference."""
