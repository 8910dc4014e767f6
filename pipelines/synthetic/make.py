"""Make the recordings that a catalog of synthetic ones names, with the truth about them in `truth.jsonl`."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from infra.digests import file_digest
from infra.manifest import Manifest
from infra.storage import write_atomic
from infra.workflow.node import Job, Outcome
from pipelines.catalog import CountedRecordings, write_catalog
from pipelines.row import Recording
from pipelines.synthetic.synthesize import EXPECT, VOICES, Take, takes

LICENSE = "Apache-2.0"
SOURCE = "synthetic: sentences of this project, spoken by eSpeak NG"


class Synthetic(Manifest):
    """How much to make when there is no folder."""

    seed: int = Field(default=0, ge=0)
    voices: int = Field(default=len(VOICES), ge=1, le=len(VOICES))
    sentences_per_voice: int = Field(default=6, ge=1, le=12)
    faults: bool = True
    """Also noise, music, a dialogue, and one of each kind of damage."""


def make(job: Job, cfg: Synthetic) -> Outcome:
    """Make the recordings; the same settings give the same bytes."""
    recordings, truths = [], []
    for take in takes(**cfg.model_dump()):
        path = job.out / "audio" / take.name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, encoded(take))
        recordings.append(
            Recording(
                uri=f"audio/{take.name}",
                name=take.name,
                bytes=path.stat().st_size,
                sha256=file_digest(path),
                license=LICENSE,
                source=SOURCE,
                **take.told,
            )
        )
        seconds = round(len(take.wave_S) / take.rate_hz, 3)
        truth = {"name": take.name, "kind": take.kind, "expect": EXPECT[take.kind], "seconds": seconds}
        truths.append({**truth, **take.truth})
    passed = CountedRecordings(recordings)
    write_catalog(job.out, passed)
    write_atomic(job.out / "truth.jsonl", lines(truths))
    hours = sum(truth["seconds"] for truth in truths) / 3600
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(truth["kind"] for truth in truths).items())
    job.say(f"made {len(recordings)} recordings, {hours * 60:.1f} minutes: {kinds}")
    digest = hashlib.sha256("".join(f"{r.name}\0{r.sha256}\n" for r in recordings).encode()).hexdigest()
    return Outcome(digest=digest, summary={**passed.summary(), "hours": round(hours, 4), "root": "audio"})


def encoded(take: Take) -> bytes:
    """The file of a take: 16-bit WAV or FLAC by its name, cut short or not a sound file at all where it should be."""
    import soundfile

    if take.raw is not None:
        return take.raw
    buffer = io.BytesIO()
    kind = Path(take.name).suffix[1:].upper()
    soundfile.write(buffer, take.wave_S, take.rate_hz, format=kind, subtype="PCM_16")
    whole = buffer.getvalue()
    return whole if take.cut_at is None else whole[: int(len(whole) * take.cut_at)]


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
