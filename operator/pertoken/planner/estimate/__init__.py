"""Stage `estimate`: what this cycle's metrics add to the memory of a service and its variants."""
