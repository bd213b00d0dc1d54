"""Stage `batch_cap`: the engines' cap on running sequences, and its roll over the pods."""
