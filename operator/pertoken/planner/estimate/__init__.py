"""Stage `estimate`: what a cycle teaches of a service and its variants."""
