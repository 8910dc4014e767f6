"""Real sound in every form that the corpora have, for miniatures of their layouts."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile

from pipelines.clip import Decoded, Unusable
from pipelines.row import Recording

FORMATS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "mp3": ("MP3", None), "opus": ("OGG", "OPUS")}


def sound(kind: str = "wav", *, rate_hz: int = 24000, seconds: float = 0.5, hz: float = 300) -> bytes:
    """A short tone with a beat, encoded."""
    time_S = np.arange(round(seconds * rate_hz)) / rate_hz
    wave_S = (0.3 * np.sin(2 * np.pi * hz * time_S) * (0.6 + 0.4 * np.sin(40 * time_S))).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave_S, rate_hz, format=FORMATS[kind][0], subtype=FORMATS[kind][1])
    return buffer.getvalue()


@dataclass(frozen=True)
class Read:
    """What a reader found, by name, and what the probe made of it."""

    found: dict[str, Recording]
    probed: dict[str, Decoded | Unusable]

    def reasons(self) -> dict[str, str]:
        """Name -> reason, of those that cannot be used."""
        return {name: made.reason for name, made in self.probed.items() if isinstance(made, Unusable)}


Reader = Callable[..., Read]
"""The fixture `read`."""


def facts(item: Recording, *names: str) -> tuple[Any, ...]:
    """Some fields of a recording."""
    return tuple(getattr(item, name) for name in names)


def put(root: Path, files: Mapping[str, bytes | str]) -> None:
    """Write files below `root`."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)


def tar(files: Mapping[str, bytes | str] | Iterable[tuple[str, bytes | str]], *, packed: bool = False) -> bytes:
    """A tar of files, in order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if packed else "w") as archive:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            raw = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return buffer.getvalue()


def parquet(rows: list[dict[str, Any]], *, features: dict[str, Any] | None = None, group: int = 2) -> bytes:
    """A parquet file with Hugging Face's note of the features."""
    table = pyarrow.Table.from_pylist(rows)
    if features is not None:
        note = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": note})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, row_group_size=group)
    return buffer.getvalue()


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
