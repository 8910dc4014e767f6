"""A bundle on disk to speech: load, prompt, generate, stream."""
