"""How fast is the chain through Ray? Side by side in one run, in turn: a bare pool of processes, the corpus job, a Ray
graph with one operator a step (waveforms travel between them), and lhotse (cuts into SharWriter), by itself in one
process and dealt out by hand to as many as the others have.

    OMP_NUM_THREADS=1 python tests/benchmarks/annotate.py [--minutes 60] [--rounds 3] [--workers 2] [--only NAME ...]

The work: hash and decode 48 kHz FLAC, find speech, cut, measure bandwidth and loudness, encode segments as FLAC. Ray,
and what Ray Data starts once for all of its jobs, are started before the clock; the start of the workers is inside.
The pool and the job also make every unit final on the disk; the graph and lhotse do not, and lhotse does not hash.
Ray gives a worker of one core one thread; so must the others have, or two processes on two cores wait for each
other's threads.
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from infra.cluster import Cluster, ClusterManifest
from infra.manifest import parse
from models.frozen.espeak import Espeak, Utterance
from pipelines.chain import Chain
from pipelines.clip import Clip
from pipelines.manifest import CorpusManifest
from pipelines.packing.members import flac_of
from pipelines.planned import PLAN, planned
from pipelines.readers import folder
from pipelines.row import Recording, as_row, segment_of
from pipelines.units import Unit
from pipelines.workers import ray_statuses

RATE_HZ = 48000
MANIFEST: dict[str, Any] = {
    "name": "benchmark",
    "transforms": ["probe", "segment", "bandwidth", "loudness"],
    "units": {"max_mb": 16},
}
SENTENCES = (
    "The morning train was late again, and nobody on the platform was surprised.",
    "Nobody had told her about the letter that lay on the table for a week.",
    "We walked home along the river while the lights went out one by one.",
    "Seven boats lay in the harbor, and none of them would ever leave it again.",
)


def manifest_for(workers: int) -> CorpusManifest:
    """The chain that all run."""
    return parse(CorpusManifest, {**MANIFEST, "workers": workers}, where="benchmark")


def make(root: Path, *, minutes: int) -> list[Recording]:
    """A recording a minute, with pauses between the sentences."""
    voices = Espeak()([Utterance(text=text, voice="en") for text in SENTENCES])
    waves = [soxr.resample(wave_S, Espeak.RATE_HZ, RATE_HZ).astype(np.float32) for wave_S in voices]
    noise = np.random.default_rng(0)
    for number in range(minutes):
        parts, length = [], 0
        while length < 60 * RATE_HZ:
            wave_S = waves[int(noise.integers(len(waves)))] * np.float32(noise.uniform(0.3, 0.9))
            parts += [wave_S, np.zeros(int(noise.uniform(0.4, 1.6) * RATE_HZ), np.float32)]
            length += sum(map(len, parts[-2:]))
        whole = np.concatenate(parts)[: 60 * RATE_HZ]
        whole += noise.normal(0, 1e-3, len(whole)).astype(np.float32)
        soundfile.write(root / f"{number:05d}.flac", whole, RATE_HZ)
    return list(folder.recordings(folder.Config(), root))


chain: Chain | None = None


def prepare(workers: int) -> None:
    """In a process of the pool."""
    global chain
    chain = Chain(manifest_for(workers))


def one_unit(unit: str, work: str) -> None:
    """In a process of the pool."""
    assert chain is not None
    chain.run_unit(Unit.from_json(unit), Path(work))


def by_pool(recordings: Sequence[Recording], work: Path, workers: int) -> None:
    """The same chain, in a bare pool of processes."""
    units = planned(recordings, limits=manifest_for(workers).units, path=work / PLAN)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers, initializer=prepare, initargs=(workers,)) as pool:
        pool.starmap(one_unit, [(unit.to_json(), str(work)) for unit in units], chunksize=1)


def by_job(recordings: Sequence[Recording], work: Path, workers: int) -> None:
    """What `stipple corpus build` does: one actor holds the whole chain, paths travel."""
    manifest = manifest_for(workers)
    units = planned(recordings, limits=manifest.units, path=work / PLAN)
    todo = range(len(units))
    assert sum(1 for _ in ray_statuses(manifest, units, todo, work=work, earlier={})) == len(units)


class Decode:
    """A step of the graph: a path -> a waveform, and the digest that names its clips."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        wave_S, rate_hz = soundfile.read(row["path"], dtype="float32")
        with Path(row["path"]).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return {"wave": wave_S, "rate_hz": rate_hz, "name": Path(row["path"]).name, "sha256": sha256}


class Cut:
    """A step: a recording -> its clips."""

    def __init__(self) -> None:
        self.chain = Chain(manifest_for(1))

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        from pipelines.clip import Decoded

        recording = Recording(uri=row["name"], name=row["name"], bytes=0, sha256=row["sha256"])
        found = self.chain.segment(Decoded(recording, np.asarray(row["wave"]), int(row["rate_hz"]), 1))
        clips = [piece for piece in getattr(found, "pieces", []) if isinstance(piece, Clip)]
        return [{"wave": clip.wave_S, "row": json.dumps(as_row(clip.segment))} for clip in clips]


class Measure:
    """A step: one transform over one clip."""

    def __init__(self, name: str) -> None:
        self.transform = Chain(manifest_for(1)).rest[name]

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        (done,) = self.transform([Clip(segment_of(json.loads(row["row"])), np.asarray(row["wave"]))])
        return {"wave": row["wave"], "row": json.dumps(as_row(done.segment))}


class Encode:
    """A step: a waveform -> FLAC."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"flac": flac_of(np.asarray(row["wave"]), rate_hz=RATE_HZ), "row": row["row"]}


def by_graph(recordings: Sequence[Recording], work: Path, workers: int) -> None:
    """One operator a step, as one would write it at first; the driver writes a tar."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    share = workers / 5
    with DataContext.current(context), tarfile.open(work / "graph.tar", "w") as tar:
        data = ray.data.from_items([{"path": item.uri} for item in recordings], override_num_blocks=len(recordings))
        pool: dict[str, Any] = {"compute": ActorPoolStrategy(size=1), "num_cpus": share}
        data = data.map(Decode, **pool).flat_map(Cut, **pool)
        for name in ("bandwidth", "loudness"):
            data = data.map(Measure, fn_constructor_args=(name,), **pool)
        for number, row in enumerate(data.map(Encode, **pool).iter_rows()):
            for suffix, content in (("flac", row["flac"]), ("json", row["row"].encode())):
                member = tarfile.TarInfo(f"{number:08d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def start_ray_data() -> None:
    """What Ray Data starts for its first job, and keeps for all others."""
    import ray

    class Nothing:
        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            return row

    ray.data.from_items([{"id": 0}]).map(Nothing, compute=ray.data.ActorPoolStrategy(size=1)).take_all()


def shar_part(paths: Sequence[str], work: str) -> None:
    """In a process of its own: lhotse cuts, measured and written by SharWriter."""
    from lhotse import MonoCut
    from lhotse import Recording as LhotseRecording
    from lhotse.shar import SharWriter

    from pipelines.clip import Decoded

    own = Chain(manifest_for(1))
    Path(work).mkdir()
    with SharWriter(work, fields={"recording": "flac"}, shard_size=1000) as shar:
        for path in paths:
            source = LhotseRecording.from_file(path)
            whole = MonoCut(source.id, start=0, duration=source.duration, channel=0, recording=source)
            recording = Recording(uri=path, name=source.id, bytes=0, sha256="0" * 64)
            found = own.segment(Decoded(recording, whole.load_audio()[0], RATE_HZ, 1))
            for piece in getattr(found, "pieces", []):
                if isinstance(piece, Clip):
                    start, end = piece.segment.start_sample / RATE_HZ, piece.segment.end_sample / RATE_HZ
                    cut = whole.truncate(offset=start, duration=end - start).with_id(piece.segment.key)
                    clips: list[Any] = [Clip(piece.segment, cut.load_audio()[0])]
                    for transform in own.rest.values():
                        clips = transform(clips)
                    cut.custom = {name: value for name, value in as_row(clips[0].segment).items() if value is not None}
                    shar.write(cut)


def by_lhotse(recordings: Sequence[Recording], work: Path, workers: int) -> None:
    """Cuts into one SharWriter, as `CutSet.to_shar` does it by itself."""
    shar_part([item.uri for item in recordings], str(work / "shar"))


def by_lhotse_dealt(recordings: Sequence[Recording], work: Path, workers: int) -> None:
    """The recordings dealt out to processes, each with a SharWriter."""
    spawn = multiprocessing.get_context("spawn")
    parts = [[item.uri for item in recordings[number::workers]] for number in range(workers)]
    with spawn.Pool(workers) as pool:
        pool.starmap(shar_part, [(part, str(work / str(number))) for number, part in enumerate(parts)], chunksize=1)


VARIANTS: dict[str, Callable[[Sequence[Recording], Path, int], None]] = {
    "bare pool": by_pool,
    "corpus job": by_job,
    "one operator a step": by_graph,
    "lhotse SharWriter": by_lhotse,
    "the same, dealt out": by_lhotse_dealt,
}


def main() -> None:
    """Print the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=int, default=60, help="of audio")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--workers", type=int, default=2)
    words.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="these, and no others")
    args = words.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        words.error("set OMP_NUM_THREADS=1: else processes beside one another have more threads than there are cores")
    spent: dict[str, list[float]] = {name: [] for name in VARIANTS if name in args.only}
    with (
        tempfile.TemporaryDirectory() as place,
        Cluster(ClusterManifest(cpus=args.workers, object_store_mb=500)) as cluster,
    ):
        root = Path(place) / "recordings"
        root.mkdir()
        recordings = make(root, minutes=args.minutes)
        cluster.connect()
        start_ray_data()
        for number in range(args.rounds):
            for name in list(spent)[:: 1 - 2 * (number % 2)]:
                work = Path(place) / f"{number} {name}"
                work.mkdir()
                began = time.monotonic()
                VARIANTS[name](recordings, work, args.workers)
                spent[name].append(time.monotonic() - began)
                print(f"round {number + 1}: {name:<20} {spent[name][-1]:7.1f} s", flush=True)
    print(f"\n{args.minutes} minutes of 48 kHz audio, {args.workers} workers, {args.rounds} rounds in turn")
    print(f"load at the end {os.getloadavg()[0]:.1f}")
    print(f"{'':<22}{'x real time':>12}{'spread':>16}{'of the pool':>14}{'x one op a step':>17}")
    for name, seconds in spent.items():
        speeds = [args.minutes * 60 / value for value in seconds]
        spread = f"{min(speeds):.0f}..{max(speeds):.0f}"
        ratios = "".join(
            f"{statistics.median(a / b for a, b in zip(spent[base], seconds, strict=True)):>{width}.2f}"
            for base, width in (("bare pool", 14), ("one operator a step", 17))
            if base in spent
        )
        print(f"{name:<22}{statistics.median(speeds):>12.0f}{spread:>16}{ratios}")


if __name__ == "__main__":
    main()
