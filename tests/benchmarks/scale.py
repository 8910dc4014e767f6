"""How does each part of the driver grow with what it is given? Memory, processor time and disk, a million rows.

    OMP_NUM_THREADS=1 python tests/benchmarks/scale.py [--rows 50000 200000] [--parts plan assemble ...]

Listings are made here: recordings of ten seconds in tars that are empty, and segments whose sound is 0.05 s. Each part
runs in a process of its own, for the smaller and the larger count; the table tells the slope between the two, so
that what a part costs once (imports, models) is in no number. `MB/M` is the growth of the largest resident set.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scale_corpus import catalog, job_in, made

# -- the parts: each gets its folder and a clock to start when it is ready


def part_catalog(root: Path, start: Callable[[], None]) -> None:
    """`stipple recordings` of a catalog: read, admitted, told, written."""
    from pipelines.catalog import CountedRecordings, write_catalog
    from pipelines.readers import jsonl
    from pipelines.reading.admit import admitted

    (root / "again").mkdir()
    start()
    read = jsonl.recordings(jsonl.Config(), root / "catalog")
    write_catalog(root / "again", CountedRecordings(admitted(read, allow_evaluation=True)))


def part_listing(root: Path, start: Callable[[], None]) -> None:
    """The fingerprint of a folder of files: as many as a tenth of the rows."""
    from pipelines.recordings import listing_digest

    for number in range(rows_in(root) // 10):
        place = root / "files" / f"{number // 1000:04d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"common_voice_de_{number:08d}.mp3").touch()
    start()
    listing_digest(root / "files")


def part_plan(root: Path, start: Callable[[], None]) -> None:
    """From the catalog to units, cut and named."""
    found = made(root, upto="")
    start()
    from pipelines import build

    build.units_of(found["job"].manifest, found["job"].inputs["recordings"], work=root / "work")


def part_assemble(root: Path, start: Callable[[], None]) -> None:
    """Verdicts, ledger, funnel, of units that are all final."""
    from pipelines import in_order
    from pipelines.assemble import assemble

    found = made(root, upto="units")
    in_order.MANY = 10**9  # Ray's tasks would hide what verdicts cost
    start()
    assemble(found["job"], found["units"], chain=found["chain"])


def part_build(root: Path, start: Callable[[], None]) -> None:
    """A build of which every unit is final: from the catalog to shards, index, card and page, in one process."""
    from pipelines import build, in_order

    found = made(root, upto="")
    in_order.MANY = 10**9  # Ray's tasks would hide what verdicts and shards cost
    start()
    build.run(found["job"])


def part_what_if(root: Path, start: Callable[[], None]) -> None:
    """A question to stored scores."""
    from pipelines.policy.conditions import read_condition
    from pipelines.policy.scored import score_names
    from pipelines.policy.what_if import what_if

    start()
    what_if(
        root / "out",
        kept=read_condition("snr_db>=20 and bandwidth_hz>=8000", known=score_names(root / "out"), where="scale"),
    )


def part_resume(root: Path, start: Callable[[], None]) -> None:
    """Which units are final, in the work folder of a stopped build (a row is a unit)."""
    from pipelines.ledger import final_units

    folder, count = root / "many" / "units", rows_in(root)
    folder.mkdir(parents=True)
    for number in range(count):
        for ending in ("jsonl", "flac"):
            os.close(os.open(f"{folder}/{number:024x}.0123456789ab.{ending}", os.O_CREAT))
    start()
    assert len(final_units(root / "many", chain="0123456789ab")) == count


def part_select(root: Path, start: Callable[[], None]) -> None:
    """A view by a whole policy."""
    from pipelines.policy.selection import policy_facts, tally, write_selection

    manifest = job_in(root).manifest
    start()
    policy = policy_facts(manifest, allow=(), where=None)
    write_selection(root / "view", root / "out", tally(root / "out", policy=manifest), name="view", policy=policy)


def part_trace(root: Path, start: Callable[[], None]) -> None:
    """Where one recording is."""
    from pipelines.trace import trace

    start()
    assert len(trace(one_name(root), [root / "out"])) == 1


def part_start(root: Path, start: Callable[[], None]) -> None:
    """The first start of a stage: its sources, looked up in the index."""
    from training.data.stream import open_sources
    from training.manifest import Data

    start()
    open_sources(Data(seconds_per_step=60), folders={"data": root / "out"}, needs_text=True, memory=root / "found")


def part_again(root: Path, start: Callable[[], None]) -> None:
    """Every later start."""
    from training.data.stream import open_sources
    from training.manifest import Data

    start()
    open_sources(Data(seconds_per_step=60), folders={"data": root / "out"}, needs_text=True, memory=root / "found")


def part_takedown(root: Path, start: Callable[[], None]) -> None:
    """One recording is taken down, and the corpus opened without it."""
    from pipelines.policy.takedown import take_down, tombstone_for, touched
    from pipelines.shards import open_corpus

    name = one_name(root)
    start()
    made = tombstone_for(root / "out", field="recording", values=[name], why="asked to", who="me")
    take_down(root / "out", made, touched(root / "out", made))
    whole, seen = open_corpus(root / "out", whole=True), open_corpus(root / "out")
    assert len(whole) == len(seen) + 1


def rows_in(root: Path) -> int:
    """Recordings of the catalog."""
    with (root / "catalog" / "recordings.jsonl").open("rb") as file:
        return sum(1 for _ in file)


def one_name(root: Path) -> str:
    """A recording in the middle of the corpus."""
    from pipelines.shards import open_corpus

    rows = open_corpus(root / "out", whole=True).rows
    return str(rows[len(rows) // 2]["recording"])


PARTS: dict[str, Callable[[Path, Callable[[], None]], None]] = {
    name.removeprefix("part_"): value for name, value in list(globals().items()) if name.startswith("part_")
}
NEEDS = {"assemble": "results", "build": "results"}
NEEDS |= dict.fromkeys(("what_if", "select", "trace", "start", "again", "takedown"), "corpus")


def child(part: str, root: Path) -> None:
    """One part, once: prints what it took."""
    began: list[float] = []

    def start() -> None:
        began[:] = [*disk_of(root), time.monotonic(), time.process_time()]

    PARTS[part](root, start)
    wall, cpu = time.monotonic(), time.process_time()
    size, files = disk_of(root)
    facts = {
        "wall": wall - began[2],
        "cpu": cpu - began[3],
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "disk": size - began[0],
        "files": files - began[1],
    }
    print("\0" + json.dumps(facts))


def disk_of(root: Path) -> tuple[int, int]:
    """Bytes and files below a folder."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


def run(words: list[str]) -> dict[str, Any]:
    """This file in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return dict(json.loads(done.stdout.rpartition("\0")[2] or "{}"))


def main() -> None:
    """The table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rows", type=int, nargs=2, default=[50_000, 200_000])
    words.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    words.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = words.parse_args()
    if args.child:
        part, root = args.child[0], Path(args.child[1])
        if part == "results":
            made(root, upto="results")
        else:
            child(part, root)
        return
    few, many = args.rows
    print(f"from {few:,} to {many:,} rows; load {os.getloadavg()[0]:.1f}")
    print(f"{'part':<12}{'cpu s/M':>10}{'wall s/M':>10}{'MB/M':>10}{'disk MB/M':>11}{'files/M':>10}")
    with tempfile.TemporaryDirectory() as place:
        roots = {count: Path(place) / str(count) for count in args.rows}
        for count, root in roots.items():
            catalog(root / "catalog", count)
        ready: set[str] = set()
        for part in args.parts:
            if NEEDS.get(part) and "results" not in ready:
                for root in roots.values():
                    run(["--child", "results", str(root)])
                ready.add("results")
            if NEEDS.get(part) == "corpus" and "build" not in args.parts:
                sys.exit(f"{part} needs the part build before it")
            one, other = (run(["--child", part, str(root)]) for root in roots.values())
            slope = {name: (other[name] - one[name]) / (many - few) * 1e6 for name in one}
            print(
                f"{part:<12}{slope['cpu']:>10.1f}{slope['wall']:>10.1f}{slope['rss'] / 1e6:>10.0f}"
                f"{slope['disk'] / 1e6:>11.0f}{slope['files']:>10.0f}"
                f"   (at {many:,}: {other['cpu']:.1f} s, {other['rss'] / 1e6:.0f} MB)",
                flush=True,
            )


if __name__ == "__main__":
    main()
