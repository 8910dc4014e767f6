"""How speech is scored: one file a metric. A metric is `Config` and `measure(utterances, cfg)`."""
