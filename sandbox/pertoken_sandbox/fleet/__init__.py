"""An emulated GPU fleet: nodes, kubelets, vLLM engines, their metrics pages and the clients that load them.

The Kubernetes objects are real (they live in a real API server); only the GPUs' time is made up, from tables of
measured kernel times (``pertoken_bench.hardware``).
"""
