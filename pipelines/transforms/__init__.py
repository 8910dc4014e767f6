"""What is done to a clip: one file a transform: `Config`, `SETS`, `READS`, `CHANGES_WAVE` and `Transform(cfg)(clips)`.

`SETS` names the fields of a segment that it writes, `READS` those of other transforms that it looks at, `CHANGES_WAVE`
says whether it may replace the waveform. It returns one clip, or one `Rejected`, for each clip, in order; it needs no
Ray, writes no file, loads its networks on the first call, and its `fingerprint` is part of the resume key.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from infra.manifest import Manifest, canonical


def fingerprint_of(source: str, *, cfg: Manifest, backends: Iterable[str] = ()) -> str:
    """`name/hash`: of the transform's source file, its settings, and the networks it asks."""
    path = Path(source)
    state = hashlib.sha256(path.read_bytes())
    state.update(canonical(cfg).encode())
    for backend in backends:
        state.update(b"\0" + backend.encode())
    return f"{path.stem}/{state.hexdigest()[:16]}"
