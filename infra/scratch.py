"""A temporary folder for a moment: gone at the end, or, where its process was killed, when the next one begins."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from infra.locks import owned


@contextlib.contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """An empty folder `stipple-<purpose>-<process>-<random>` among the temporary files (but for `.lock`)."""
    place = Path(tempfile.gettempdir())
    sweep_scratch(place, purpose=purpose)
    with (
        tempfile.TemporaryDirectory(prefix=f"stipple-{purpose}-{os.getpid()}-", dir=place) as folder,
        owned(Path(folder) / ".lock", waiting=lambda who: None),  # who sweeps in another container may be faster
    ):
        yield Path(folder)


def sweep_scratch(place: Path, *, purpose: str) -> None:
    """Remove such folders that are ours, of processes that have ended, and locked by nobody, also in a container."""
    for folder in place.glob(f"stipple-{purpose}-*-*") if sys.platform == "linux" else ():
        owner = folder.name.removeprefix(f"stipple-{purpose}-").partition("-")[0]
        if not owner.isdecimal() or Path(f"/proc/{owner}").exists():
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if not folder.is_symlink() and folder.stat().st_uid == os.getuid():
                with owned(folder / ".lock") as free:
                    if free:
                        shutil.rmtree(folder, ignore_errors=True)
