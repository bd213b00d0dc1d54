"""What services were asked for in the past: requests and tokens by the hour, on one clock."""
