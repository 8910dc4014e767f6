"""How fast are shards read? Ours by offset, webdataset, plain files and a tarfile stream, side by side in one run.

    python tests/benchmarks/read_shards.py [--samples 640] [--rounds 5] [--at-samples 600]
    python tests/benchmarks/read_shards.py --open 10000 100000 1000000

The first form writes one shard of FLACs (5 s of noise at 48 kHz, about half a megabyte each), then reads all of it in
each way, the ways in turn, round after round. The second form opens indexes of so many rows, each in a process of its
own: as we do, and as a list with a dict a row. Times are of the wall and of the processor; on a busy machine the second
one tells more.
"""

import argparse
import io
import json
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from pipelines.packing.cutting import plan
from pipelines.packing.finish import finish
from pipelines.packing.layout import index_name, shard_name, shard_path
from pipelines.packing.members import flac_of
from pipelines.packing.parts import index_schema
from pipelines.packing.writer import write_shard
from pipelines.row import Segment, as_row, segment_key
from pipelines.shards import Corpus, open_corpus
from tests.pipelines.packable import Item

RATE_HZ, SECONDS, WAVES = 48_000, 5, 40
ROWS_A_SHARD = 2048

Way = Callable[[bool], Iterator[int]]
"""Yields something of each sample; decodes its FLAC and its JSON where asked."""


def make(root: Path, *, samples: int) -> Corpus:
    """A corpus of one shard."""
    spool = root / "spool"
    spool.mkdir()
    items = []
    for number in range(samples):
        file = spool / f"{number % WAVES}.flac"
        if number < WAVES:
            wave_S = np.random.default_rng(number).normal(0, 0.1, RATE_HZ * SECONDS).astype(np.float32)
            file.write_bytes(flac_of(wave_S, rate_hz=RATE_HZ))
        row = row_of(number)
        items.append(Item(row=row, tier="all", file=file, offset=0, flac_bytes=file.stat().st_size))
    shards = [write_shard(root / "corpus", n, part) for n, part in enumerate(plan(items, soft_bytes=2**30))]
    finish(root / "corpus", name="bench", shards=shards, facts={})
    return open_corpus(root / "corpus")


def row_of(number: int) -> dict[str, Any]:
    """The row of a segment with all the fields that most have."""
    sha = f"{number:064x}"
    key = segment_key(sha, start_sample=0, end_sample=RATE_HZ * SECONDS)
    text = f"these are the words that were spoken in recording number {number} of them all"
    return as_row(
        Segment(
            key=key, corpus="bench", recording=f"folder/{number}.flac", recording_sha256=sha, license="CC-BY-4.0",
            source="https://example.org/recordings", start_sample=0, end_sample=RATE_HZ * SECONDS, rate_hz=RATE_HZ,
            channels=1, seconds=float(SECONDS), given_text=text, text=text, text_tts=text, language="en",
            speaker=f"v{number % 999}", mos_overall=3.0 + number % 7 / 10, snr_db=20.0 + number % 30,
            bandwidth_hz=20_000.0,
        )
    )  # fmt: skip


def decoded(flac: bytes | memoryview, record: bytes | memoryview) -> int:
    """What training needs of a sample."""
    wave_S, _ = soundfile.read(io.BytesIO(flac), dtype="float32")
    return len(wave_S) + len(json.loads(bytes(record)))


def ours(corpus: Corpus, *, order: list[int]) -> Way:
    """By offset, in any order."""

    def read(decode: bool) -> Iterator[int]:
        for number in order:
            if decode:
                yield len(corpus.sample(number).wave_S)
            else:
                yield len(corpus.members(number)[1]["flac"])

    return read


def webdataset_way(tar: Path) -> Way:
    """As its manual shows it."""
    import webdataset

    def read(decode: bool) -> Iterator[int]:
        for sample in webdataset.WebDataset(str(tar), shardshuffle=False):
            yield decoded(sample["flac"], sample["json"]) if decode else len(sample["flac"])

    return read


def tarfile_way(tar: Path) -> Way:
    """The standard library, as a stream."""

    def read(decode: bool) -> Iterator[int]:
        with tarfile.open(tar, "r|") as stream:
            flac = b""
            for member in stream:
                file = stream.extractfile(member)
                data = file.read() if file else b""
                if member.name.endswith(".flac"):
                    flac = data
                else:
                    yield decoded(flac, data) if decode else len(flac)

    return read


def files_way(folder: Path) -> Way:
    """A file a member."""
    flacs = sorted(folder.glob("*.flac"))

    def read(decode: bool) -> Iterator[int]:
        for path in flacs:
            flac, record = path.read_bytes(), path.with_suffix(".json").read_bytes()
            yield decoded(flac, record) if decode else len(flac)

    return read


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the wall, and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def spread(values: list[float]) -> str:
    """Median, and least to most."""
    return f"{statistics.median(values):10,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def read_all(args: argparse.Namespace) -> None:
    """The first table."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        corpus = make(root, samples=args.samples)
        tar = root / "corpus" / shard_path(0)
        folder = root / "files"
        folder.mkdir()
        for number in range(len(corpus)):
            key, members = corpus.members(number)
            for ending, data in members.items():
                (folder / f"{key}.{ending}").write_bytes(data)
        straight = list(range(len(corpus)))
        mixed = random.Random(0).sample(straight, len(straight))
        ways = {
            "ours, in order": ours(corpus, order=straight),
            "ours, in random order": ours(corpus, order=mixed),
            "webdataset": webdataset_way(tar),
            "tarfile stream": tarfile_way(tar),
            "plain files": files_way(folder),
        }
        print(f"{len(corpus)} samples in one shard of {tar.stat().st_size / 1e6:.0f} MB, {args.rounds} rounds, warm")
        for decode in (False, True):
            took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for _ in range(args.rounds):
                for name, way in ways.items():
                    took[name].append(timed(lambda w=way, d=decode: sum(w(d))))  # type: ignore[misc]
            what = "with FLAC decoded" if decode else "bytes of the members"
            print(f"\n{what:<24}{'samples/s':>32}{'per s of CPU':>32}")
            base = statistics.median(cpu for _, cpu in took["webdataset"])
            for name, times in took.items():
                wall, cpu = ([len(corpus) / part for part in column] for column in zip(*times, strict=True))
                ratio = base / statistics.median(cpu for _, cpu in times)
                print(f"  {name:<22}{spread(wall):>32}{spread(cpu):>32}   {ratio:5.2f} x webdataset (CPU)")
        seek(corpus, tar, at=min(args.at_samples, len(corpus) - 1), rounds=args.rounds)


def seek(corpus: Corpus, tar: Path, *, at: int, rounds: int) -> None:
    """From nothing open to sample number `at`."""
    root = str(corpus.place)
    took: dict[str, list[float]] = {"ours": [], "webdataset": []}
    for _ in range(rounds):
        took["ours"].append(timed(lambda: open_corpus(root).members(at))[0])
        took["webdataset"].append(
            timed(lambda: next(size for n, size in enumerate(webdataset_way(tar)(False)) if n == at))[0]
        )
    print(f"\nfrom nothing to sample {at}")
    for name, times in took.items():
        told = [value * 1000 for value in times]
        print(f"  {name:<22}{statistics.median(told):10.1f} ms ({min(told):.1f} to {max(told):.1f})")


def make_index(root: Path, *, rows: int) -> None:
    """The card and the index of a corpus whose sound nobody will read."""
    import pyarrow
    from pyarrow import parquet

    (root / "index").mkdir(parents=True)
    shards, template = [], row_of(0)
    names = [item.name for item in fields(Segment)]
    with parquet.ParquetWriter(root / index_name(0), index_schema(), compression="zstd") as writer:
        for shard, first in enumerate(range(0, rows, ROWS_A_SHARD)):
            count = min(ROWS_A_SHARD, rows - first)
            columns: dict[str, list[Any]] = {name: [template[name]] * count for name in names}
            made = [row_of(first + number) for number in range(count)]
            for name in ("key", "recording", "recording_sha256", "text", "text_tts", "given_text", "speaker"):
                columns[name] = [row[name] for row in made]
            columns["seconds"] = np.random.default_rng(shard).uniform(1, 30, count).tolist()
            place = dict.fromkeys(("flac_offset", "flac_bytes", "json_offset", "json_bytes"), list(range(count)))
            table = {**columns, **place, "shard": [shard] * count, "tier": ["all"] * count}
            writer.write_table(pyarrow.table(table, schema=index_schema()))
            hashes = dict.fromkeys(("sha256", "index_sha256", "rows_sha256"), "0" * 64)
            shards.append({"name": shard_name(shard), **hashes, "bytes": 2**30, "samples": count, "seconds": 1.0})
    facts = {"name": "bench", "digest": "0" * 32, "samples": rows, "hours": 1.0, "licenses": ["CC0"]}
    card = {"format": "stipple-corpus/2", **facts, "shards": shards}
    (root / "corpus.json").write_text(json.dumps(card))


OPEN = """
import sys, time, random, numpy, pyarrow, psutil, soundfile
from pyarrow import parquet, compute
from pipelines.shards import open_corpus
from pipelines.packing.layout import index_name
root, how = sys.argv[1:]
me = psutil.Process()
before = me.memory_info().rss
def since():
    global began
    now = time.perf_counter()
    took, began = now - began, now
    return took
began = time.perf_counter()
if how == "ours":
    corpus = open_corpus(root)
    rows, steps = corpus.rows, [since()]
    corpus.seconds
    steps.append(since())
    corpus.rows.columns("key", "tier", "text", "text_tts")
    steps.append(since())
else:
    rows = parquet.read_table(root + "/" + index_name(0), memory_map=True).to_pylist()
    steps = [since()]
    numpy.array([row["seconds"] for row in rows])
    steps.append(since())
    [(row["key"], row["tier"], row["text"], row["text_tts"]) for row in rows]
    steps.append(since())
picks = random.Random(0).sample(range(len(rows)), 50)
[rows[number]["text"] for number in picks]
steps.append(since() / 50)
memory = (me.memory_info().rss - before) / 2**20
print(" ".join(f"{step * 1000:.1f}" for step in steps), f"{memory:.0f}")
"""


def measured(command: list[str]) -> list[float]:
    """The numbers that a process prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def open_all(args: argparse.Namespace) -> None:
    """The second table."""
    heads = ("open ms", "durations ms", "4 columns ms", "a row ms", "memory MB")
    print(f"{'rows':>10}  {'':<8}" + "".join(f"{head:>15}" for head in heads))
    for rows in args.open:
        with tempfile.TemporaryDirectory() as place:
            make_index(Path(place) / "corpus", rows=rows)
            for how in ("ours", "dicts"):
                if how == "dicts" and rows > args.most_dicts:
                    continue
                command = [sys.executable, "-W", "ignore", "-c", OPEN, str(Path(place) / "corpus"), how]
                told = [measured(command) for _ in range(args.rounds if rows < 10**6 else 1)]
                medians = [statistics.median(column) for column in zip(*told, strict=True)]
                print(f"{rows:>10,}  {how:<8}" + "".join(f"{value:>15,.1f}" for value in medians))


def main() -> None:
    """Print one table or the other."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--samples", type=int, default=640)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--at-samples", type=int, default=600)
    words.add_argument("--open", type=int, nargs="+", default=[])
    words.add_argument("--most-dicts", type=int, default=10**6)
    args = words.parse_args()
    if args.open:
        open_all(args)
    else:
        read_all(args)


if __name__ == "__main__":
    main()
