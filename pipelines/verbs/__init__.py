"""What is asked of a finished corpus: one file a verb of `stipple corpus`: `SUMMARY`, `add_arguments` and `main`."""
