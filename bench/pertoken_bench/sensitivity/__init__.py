"""What half and double of each number that decides do on pieces of the scenarios: `docs/tuning.md`."""
