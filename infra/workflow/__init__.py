"""Corpora, stages and evaluations as a graph: one node, one fingerprint, one job, one MLflow run."""
