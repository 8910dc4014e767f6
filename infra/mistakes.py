"""Whose mistake is it? A person's or the machine's errors as a sentence and an exit code; all others are ours."""

import errno
import os
import shutil

MISTAKES = {
    "infra.manifest.ManifestError": 2,
    "infra.workflow.node.Refused": 1,
    "infra.buckets.StorageError": 1,
    "pipelines.packing.layout.CorpusError": 1,
    "models.runtime.files.BundleError": 1,
    "models.runtime.prompt.RequestError": 1,
    "models.frozen.WeightsError": 1,
    "training.ends.Stopped": 1,
    "training.data.stream.DataError": 1,
    "training.checkpoint.CheckpointError": 1,
    "training.heaviest.DoesNotFit": 1,
    "training.update.NonFinite": 1,
    "training.leaks.Leak": 1,
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
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return f"{short(ascii(error.object))}: a name that is not UTF-8; give the file another one", 1
    if isinstance(error, OSError):
        told = os_error_sentence(error)
        return (told, 1) if told else None
    return None


def last_line(error: BaseException) -> str:
    """An unexpected error in one line: its kind, and the end of its message (Ray's messages carry a traceback)."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300]}" if lines else type(error).__name__


OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE)
"""What the machine lacks while a file is read (temporary files, handles): nothing is wrong with that file."""


def os_error_sentence(error: OSError) -> str | None:
    """A sentence for what the machine refuses (full disk, rights, ports); None for errors that are our own."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):  # of a folder that is copied
        _, target, why = error.args[0][0]
        return f"{target} could not be written: {why}; make room there, and run the same command again"
    name = error.filename2 or error.filename
    where = f" ({name})" if name else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}: free some space and run the same command again"
    if error.errno == errno.EFBIG:
        return f"a file would grow over this system's limit{where}: raise it (ulimit -f) and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        told = f"not allowed to write or read here{where}: {os.strerror(error.errno)}"
        return f"{told}; have its rights changed, or name another place"
    if error.errno == errno.ENOTDIR:
        return f"a file is where a folder should be{where}: name another place"
    if error.errno == errno.EISDIR:
        return f"a folder is where a file should be{where}: name another place"
    if error.errno == errno.ENAMETOOLONG:
        return f"a name is too long for this system{short(where)}: name a shorter one"
    if error.errno == errno.ELOOP:
        return f"a link leads back to itself{where}: name what it should lead to"
    if error.errno in (errno.EIO, errno.ESTALE):
        told = f"the disk, or the network behind it, fails{where}: {os.strerror(error.errno)}"
        return f"{told}; look after it and run the same command again"
    if error.errno == errno.EADDRINUSE:
        return "the port is in use: stop what listens on it, or name another port"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many open files: raise the limit (ulimit -n 4096) and run the same command again"
    return None


def short(text: str) -> str:
    """A text that nobody reads to its end, by its ends."""
    return text if len(text) <= 100 else f"{text[:60]}...{text[-20:]}"
