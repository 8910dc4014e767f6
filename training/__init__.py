"""How models are made: Ray Train launches the workers, DeepSpeed moves the parameters, one loop runs seven stages."""
