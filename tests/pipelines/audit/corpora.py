"""Small corpora whose every row is known, for tests of the page that shows them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.funnel import Funnel
from pipelines.ledger import RecordingFact
from pipelines.packing.finish import finish
from pipelines.packing.members import flac_of
from pipelines.packing.writer import write_shard
from pipelines.row import Segment, Wave, as_row
from tests.pipelines.packable import Item, write_ledger

MANIFEST: dict[str, Any] = {
    "purpose": "to <test>",
    "transforms": [{"name": "probe"}, {"name": "segment"}, {"name": "mos"}],
    "keep": [{"name": "mos", "settings": {"min": 2.0}}, {"name": "duration", "settings": {"min": 1.0, "max": 30.0}}],
    "tiers": {"clean": [{"name": "bandwidth", "settings": {"min": 3000}}], "rest": []},
}
EVIL = "<script>alert('x')</script> & more"


def tone(seconds: float, *, rate_hz: int = 16000) -> Wave:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def segment(number: int, **facts: Any) -> dict[str, Any]:
    """Segment `number`: its MOS is a third, its bandwidth 500 Hz times that; every third is German."""
    known: dict[str, Any] = {
        "source": "a desk", "seconds": 1.0, "text": EVIL, "mos_overall": number / 3, "bandwidth_hz": 500.0 * number,
        "language": "de" if number % 3 == 0 else "en", "license": "CC0-1.0", "bandwidth_cliff": number % 2 == 0,
    }  # fmt: skip
    made = Segment(
        key=f"key{number:023d}", corpus="c", recording=f"r{number}.wav", recording_sha256="0" * 64, start_sample=0,
        end_sample=16000, rate_hz=16000, channels=1, **{**known, **facts},
    )  # fmt: skip
    return as_row(made)


def fate(row: dict[str, Any], *reasons: str, tier: str = "clean") -> dict[str, Any]:
    """The row of the ledger: kept where there is no reason."""
    told = f"{reasons[0]}: its value" if reasons else None
    known = {"unit": "u", "transform": "select", "fingerprint": "f", "item_seconds": row["seconds"]}
    status = {"status": "dropped" if reasons else "kept", "reason": told, "reasons": list(reasons)}
    return {**row, **known, **status, "tier": None if reasons else tier}


def lost(recording: str, *, status: str, reason: str, seconds: float, transform: str = "probe") -> dict[str, Any]:
    """The row of a recording, or of a part of one, that is no segment."""
    return {
        "unit": "u", "transform": transform, "fingerprint": "f", "status": status, "reason": reason, "tier": None,
        "reasons": [reason.split(":")[0]], "item_seconds": seconds, "recording": recording, "license": "CC0-1.0",
    }  # fmt: skip


def build(root: Path, rows: Sequence[dict[str, Any]], *, manifest: dict[str, Any] | None = None) -> Path:
    """A finished corpus of these rows: ledger, funnel, shards, card."""
    manifest = manifest or MANIFEST
    sound = root / "sound.flac"
    sound.write_bytes(flac_of(tone(3), rate_hz=16000))
    write_ledger(root / "ledger.parquet", rows)
    seconds: dict[str, float] = {}
    segments: dict[str, int] = {}
    for row in rows:
        seconds[row["recording"]] = seconds.get(row["recording"], 0.0) + row["item_seconds"]
        segments[row["recording"]] = segments.get(row["recording"], 0) + (row.get("key") is not None)
    funnel = Funnel([*(entry["name"] for entry in manifest["transforms"]), "select"])
    blank = {"source": "", "given_language": None, "language": None, "key": None}
    facts = [RecordingFact(name, seconds[name], segments[name]) for name in seconds]
    funnel.add(facts, [{**blank, **row} for row in rows])
    told = {**funnel.facts(), "manifest": manifest, "costs": {"mos": {"cpu_seconds": 2.0, "audio_seconds": 60.0}}}
    (root / "funnel.json").write_text(json.dumps(told))
    items = [Item({k: v for k, v in row.items() if k in segment(0)}, row["tier"], sound, 0, sound.stat().st_size)
             for row in rows if row["status"] == "kept"]  # fmt: skip
    finish(root, name="small", shards=[write_shard(root, 0, items)], facts={})
    return root


def twelve() -> list[dict[str, Any]]:
    """Segments 0 to 11 of a second: 0 to 5 are under MOS 2, of which 4 and 5 are too short as well; and the rest."""
    rows = [fate(segment(number), "mos", *(["duration"] if number in (4, 5) else [])) for number in range(6)]
    rows += [fate(segment(number)) for number in range(6, 12)]
    rows.append(lost("r11.wav", status="dropped", reason="between: pauses", seconds=0.5, transform="segment"))
    rows.append(lost("broken.wav", status="failed", reason="decode: junk <b>", seconds=0.0))
    return rows
