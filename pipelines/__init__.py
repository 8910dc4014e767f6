"""How data is made, and how good a checkpoint is: Ray Data jobs from recordings to shards, and evaluations."""
