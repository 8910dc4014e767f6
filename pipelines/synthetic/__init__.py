"""Recordings made here, and the truth about them."""
