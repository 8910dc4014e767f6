"""Where it runs and what was run: command line, manifests, cluster, workflow, lineage."""
