"""From shards to batches: what a step trains on is a pure function of (seed, step)."""
