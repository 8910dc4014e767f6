"""What the networks are: torch only; nothing here knows of clusters, trackers or manifests."""
