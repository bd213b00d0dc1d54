"""The benchmark: simulated engines and cluster, policies, scenarios, scores. Never imported by the operator."""
