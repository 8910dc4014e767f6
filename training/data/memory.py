"""What was found in an index, kept in a folder and mapped into memory again: a start that reads no row of it."""

import os
import secrets
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.storage import named, sync_tree


def remember(place: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays into the folder `place`, whole or not at all; nothing where another worker was first."""
    part = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    part.mkdir(parents=True)
    try:
        for name, array in arrays.items():
            with named(part / f"{name}.npy"):
                np.save(part / f"{name}.npy", array, allow_pickle=False)
        sync_tree(part)
        os.rename(part, place)
    except OSError:
        if not place.is_dir():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def recall(place: Path, *, names: Collection[str]) -> dict[str, NDArray[Any]] | None:
    """What `remember` wrote there, mapped and not read; None where nothing is, or what is there is damaged or has not
    all `names`."""
    try:
        found = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in place.iterdir()}
    except (OSError, ValueError):
        return None
    if not found.keys() >= set(names):
        return None
    return {name: np.asarray(array) for name, array in found.items()}
