"""A real local control plane, Prometheus and an emulated GPU fleet."""
