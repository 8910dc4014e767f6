"""Captions: how a clip sounds, in words, by rules or by an endpoint that listens; held against what was measured."""
