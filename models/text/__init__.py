"""Text to token ids, templates and language tags."""
