"""How good a checkpoint is: prompts and texts in, speech and scores out."""
