"""What a corpus will give and cost, from a sample of it; later held against what came."""
