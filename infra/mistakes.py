"""Whose mistake is it? A person's or the machine's errors as a sentence and an exit code; all others are ours."""

MISTAKES = {
    "infra.manifest.ManifestError": 2,
    "infra.workflow.node.Refused": 1,
    "infra.buckets.StorageError": 1,
    "pipelines.packing.index.CorpusError": 1,
    "models.runtime.files.BundleError": 1,
    "models.runtime.prompt.RequestError": 1,
    "models.frozen.WeightsError": 1,
    "training.launch.Stopped": 1,
}
"""Errors whose message is a sentence for a person -> exit code. By name, so that none of them is imported here."""


def sentence_of(error: BaseException) -> tuple[str, int] | None:
    """What to tell the person, and the exit code; None where the error is ours and deserves its traceback."""
    cause = getattr(error, "cause", None)  # what Ray hands over from a worker wraps what was raised there
    if isinstance(cause, Exception):
        return sentence_of(cause)
    for failure in getattr(error, "worker_failures", {}).values():  # and Ray Train, of each worker that failed
        if known := sentence_of(failure):
            return known
    for kind in type(error).__mro__:
        code = MISTAKES.get(f"{kind.__module__}.{kind.__qualname__}")
        if code is not None:
            return str(error), code
    if isinstance(error, OSError):
        from infra.storage import os_error_sentence

        told = os_error_sentence(error)
        return (told, 1) if told else None
    return None


def last_line(error: BaseException) -> str:
    """An unexpected error in one line: its kind, and the end of its message (Ray's messages carry a traceback)."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300]}" if lines else type(error).__name__
