"""What is kept, and what that means: scores to verdicts, what-if, calibration, licenses, takedown."""
