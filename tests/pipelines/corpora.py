"""Small finished corpora for tests: real shards, a real index, a real ledger, from segments with chosen scores."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.manifest import parse
from pipelines.judging import Elsewhere, nowhere
from pipelines.manifest import CorpusManifest
from pipelines.packing.cutting import plan
from pipelines.packing.finish import finish
from pipelines.packing.members import flac_of
from pipelines.packing.writer import write_shard
from pipelines.policy.select import Seen, Verdict, duplicate, judge
from pipelines.row import Segment, Wave, as_row, segment_key, segment_of
from tests.pipelines.packable import Item, write_ledger

RATE_HZ = 16000
BASE: dict[str, Any] = {
    "name": "toy",
    "transforms": ["probe", "segment", "language", "transcribe", "bandwidth", "loudness", "mos", "speaker"],
}  # fmt: skip


def manifest_of(**facts: Any) -> CorpusManifest:
    """A policy over all scores."""
    return parse(CorpusManifest, {**BASE, **facts}, where="toy")


def segment(number: int, *, samples: int = 800, sha: str | None = None, **facts: Any) -> Segment:
    """Segment `number`: 0.05 s of sound, whatever duration its `seconds` claim."""
    sha = sha or f"{number:064x}"
    start = facts.pop("start_sample", 0)
    told: dict[str, Any] = {
        "corpus": "toy", "recording": f"r{number}.wav", "license": "CC0-1.0", "source": "made here", "seconds": 3600.0,
        "channels": 1, "language": "en", "mos_overall": 3.0, "snr_db": 20.0, "bandwidth_hz": 7000.0,
        "text": "some words",
    }  # fmt: skip
    return Segment(
        key=segment_key(sha, start_sample=start, end_sample=start + samples),
        recording_sha256=sha,
        start_sample=start,
        end_sample=start + samples,
        rate_hz=RATE_HZ,
        **{**told, **facts},
    )


def verdicts(
    rows: Iterable[Mapping[str, Any]], manifest: CorpusManifest, *, elsewhere: Elsewhere = nowhere
) -> Iterator[Verdict]:
    """A verdict for each row, one after another: what a build finds some units at a time."""
    seen = Seen()
    for row in rows:
        verdict = judge(segment_of(row), manifest)
        told = elsewhere(row)
        if why := seen.copy(row["key"], None if told else verdict):
            yield duplicate(why)
        else:
            yield duplicate("the same bytes came with a transcript, under another name") if told else verdict


def corpus_of(
    root: Path,
    segments: Sequence[Segment],
    *,
    manifest: CorpusManifest | None = None,
    waves: Mapping[str, Wave] | None = None,
) -> Path:
    """A corpus in `root`, by the policy of the manifest (everything, by default); `waves` are key -> sound."""
    manifest = manifest or manifest_of()
    spool = root / "spool"
    spool.mkdir(parents=True)
    rows = [as_row(item) for item in segments]
    ledger, items = [], []
    for number, (row, verdict) in enumerate(zip(rows, verdicts(rows, manifest), strict=True)):
        status = "dropped" if verdict.tier is None else "kept"
        fate = {"unit": "u0", "transform": "select", "fingerprint": "0123456789ab", "item_seconds": row["seconds"]}
        fate |= {"status": status, "reason": verdict.detail or None, "reasons": list(verdict.reasons)}
        ledger.append({**row, **fate, "tier": verdict.tier})
        if verdict.tier is not None:
            noise = np.random.default_rng(number).uniform(-0.5, 0.5, row["end_sample"] - row["start_sample"])
            wave_S = (waves or {}).get(str(row["key"]), noise.astype(np.float32))
            flac = flac_of(wave_S, rate_hz=row["rate_hz"])
            (spool / f"{number}.flac").write_bytes(flac)
            items.append(Item(row, verdict.tier, spool / f"{number}.flac", 0, len(flac)))
    write_ledger(root / "ledger.parquet", ledger)
    told = {"manifest": manifest.model_dump(mode="json")}
    (root / "funnel.json").write_text(json.dumps(told))
    shards = [write_shard(root, number, part) for number, part in enumerate(plan(items, soft_bytes=20_000))]
    finish(root, name=manifest.name, shards=shards, facts={})
    return root
