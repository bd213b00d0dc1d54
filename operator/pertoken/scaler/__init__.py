"""The scaler for KEDA: what pertoken recommends, lent to the autoscaler that writes it."""
