"""`pertoken doctor`: what is missing for pertoken to work in a cluster, or with an engine."""
