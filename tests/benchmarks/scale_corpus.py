"""What scale.py measures with: a catalog of any length, and what workers would have left of its units."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARS = 50
SAMPLES, RATE_HZ = 240_000, 24_000
MANIFEST: dict[str, Any] = {
    "name": "scale",
    "transforms": ["probe", "segment", "language", {"name": "transcribe", "routes": {}}, "loudness", "bandwidth"],
    "keep": ["duration", "has_text"],
    "tiers": {"wide": [{"name": "bandwidth", "min": 7500}], "rest": []},
    "shards": {"soft_mb": 4},
    "errors": {"max_failed_share": 0.9},
}


def recordings(root: Path, count: int) -> Iterator[Any]:
    """Clips of ten seconds in tars, as Emilia has them."""
    from pipelines.reading.containers import member_uri
    from pipelines.row import Recording

    per_tar = -(-count // TARS)
    for number in range(count):
        tar, place = divmod(number, per_tar)
        member = f"DE_B{tar:05d}_S{place // 8:05d}_W{place:06d}.mp3"
        yield Recording(
            uri=member_uri(root / f"DE-B{tar:06d}.tar", member=member, offset=place * 162_816, length=160_749),
            name=f"DE-B{tar:06d}.tar/{member}",
            bytes=160_749,
            text=f"Das ist der Satz Nummer {number}, und er hat so viele Worte wie ein Satz im Mittel hat.",
            language="de",
            speaker=f"DE_B{tar:05d}_S{place // 8:05d}",
            license="CC-BY-NC-4.0",
            source="Emilia",
            seconds=10.04,
            extra={"dnsmos": 3.2927, "phone_count": 121},
        )


def catalog(root: Path, count: int) -> Path:
    """`recordings.jsonl` in `root`, and the tars that it leads to."""
    from pipelines.catalog import write_catalog

    root.mkdir(parents=True, exist_ok=True)
    for tar in range(TARS):
        (root / f"DE-B{tar:06d}.tar").touch()
    write_catalog(root, recordings(root, count))
    return root


def job_in(root: Path) -> Any:
    """The job of a corpus."""
    from infra.journal import About, JournalRun, new_id
    from infra.manifest import parse
    from infra.workflow.node import Job, Made
    from pipelines.manifest import CorpusManifest

    for name in ("out", "work"):
        (root / name).mkdir(parents=True, exist_ok=True)
    reader = {"name": "jsonl", "roots": [str(root)]}
    return Job(
        name="scale",
        manifest=parse(CorpusManifest, {**MANIFEST, "reader": reader}, where="scale"),
        inputs={"recordings": Made("recordings", "recordings", root / "catalog", "0" * 32, "0" * 32, "0" * 32)},
        out=root / "out",
        work=root / "work",
        run=JournalRun(root / "journal", About(new_id(), "scale", "test", "corpus")),
        connect=lambda: None,
        attempt=1,
        say=lambda _: None,
    )


def results(job: Any, units: Any, chain: Any) -> None:
    """What workers would have left of these units: a segment a recording."""
    import numpy as np

    from pipelines.ledger import Fate, RecordingFact, Sound, UnitResult, save, sound_path
    from pipelines.packing.members import flac_of
    from pipelines.row import Segment, as_row, segment_key
    from pipelines.sealing import SoundFile

    flac = flac_of(np.random.default_rng(0).uniform(-0.1, 0.1, 1200).astype(np.float32), rate_hz=RATE_HZ)
    for unit in units:
        result = UnitResult(unit=unit.id, chain=chain.fingerprint, fingerprints=chain.fingerprints)
        with SoundFile(sound_path(job.work, unit=unit.id, chain=chain.fingerprint)) as sound:
            for item in unit.recordings:
                sha = f"{abs(hash(item.name)):064x}"
                segment = Segment(
                    key=segment_key(sha, start_sample=0, end_sample=SAMPLES), corpus="scale", recording=item.name,
                    recording_sha256=sha, license=item.license, source=item.source, start_sample=0, end_sample=SAMPLES,
                    rate_hz=RATE_HZ, channels=1, seconds=10.0, given_text=item.text, given_language="de",
                    given_speaker=item.speaker, speech_ratio=0.93, edge_active=False, text_raw=item.text,
                    text=item.text, text_by="given", language="de", language_by="given", loudness_lufs=-23.4, peak=0.5,
                    clipped_ratio=0.0, snr_db=31.2, bandwidth_hz=11_000.0, bandwidth_cliff=False, upsampled=False,
                )  # fmt: skip
                place = Sound("segment", sound.put(flac), len(flac))
                fate = Fate(
                    recording=item.name, seconds=10.0, status="ready", transform="bandwidth", language="de",
                    license=item.license, source=item.source, segment=as_row(segment), sounds=(place,),
                )  # fmt: skip
                result.fates.append(fate)
                result.recordings.append(RecordingFact(item.name, 10.0, 1, 9.3, 9.3))
            save(job.work, result, sound)


def made(root: Path, *, upto: str) -> dict[str, Any]:
    """What a part needs of those before it."""
    from pipelines import build
    from pipelines.chain import Chain

    job = job_in(root)
    found: dict[str, Any] = {"job": job, "chain": Chain(job.manifest)}
    if upto in ("units", "results"):
        found["units"] = build.units_of(job.manifest, job.inputs["recordings"], work=root / "work")
    if upto == "results":
        results(job, found["units"], found["chain"])
    return found
