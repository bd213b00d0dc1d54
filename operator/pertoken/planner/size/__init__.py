"""Stage `size`: how many replicas each variant needs for the demand expected when a new replica would be ready."""
