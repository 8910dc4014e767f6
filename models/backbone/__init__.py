"""Text and speech history to the next patch: semantic encoder, LLM, AR flow-matching head."""
