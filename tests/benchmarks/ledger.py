"""What part of the work is bookkeeping? The chain over units in one process, and what the ledger costs in it: to hash
the recordings, and to make units final (results written, all flushed, renamed). Writing the sound is not counted.

    OMP_NUM_THREADS=1 python tests/benchmarks/ledger.py [--minutes 720] [--rounds 3]
        [--corpus manifests/corpora/wild_speech.yaml]

The chain is the cheap one of annotate.py, in which bookkeeping weighs most, or that of a corpus. Units are as large as
they are by default: of a corpus of an hour 3 MB, so that there are enough to share, of one of twelve hours some 30 MB.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from annotate import make, manifest_for

import pipelines.chain
from infra.manifest import load
from pipelines.chain import Chain
from pipelines.manifest import CorpusManifest, Units
from pipelines.planned import PLAN, planned
from pipelines.sealing import SoundFile
from pipelines.transforms.probe import Transform as Probe


class Spent:
    """Seconds of wall time, and of this process, within it: what is entered again inside is counted once."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.depth = 0

    def __enter__(self) -> "Spent":
        self.depth += 1
        if self.depth == 1:
            self.wall, self.cpu = self.wall - time.monotonic(), self.cpu - time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.depth -= 1
        if not self.depth:
            self.wall, self.cpu = self.wall + time.monotonic(), self.cpu + time.process_time()

    def over(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, counted."""

        def counted(*args: Any, **named: Any) -> Any:
            with self:
                return call(*args, **named)

        return counted


def main() -> None:
    """Print a line a round."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=int, default=720, help="of audio")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--corpus", type=Path, help="manifest of a corpus whose transforms run")
    args = words.parse_args()
    digest_of, save, flush = Probe.digest_of, pipelines.chain.save, SoundFile.flush
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "recordings"
        root.mkdir()
        recordings = make(root, minutes=args.minutes)
        manifest = manifest_for(1).model_copy(update={"units": Units()})
        if args.corpus is not None:
            corpus = load(CorpusManifest, args.corpus)
            manifest = manifest.model_copy(update={"transforms": corpus.transforms})
        units = list(planned(recordings, limits=manifest.units, path=Path(place) / PLAN))
        chain = Chain(manifest)
        chain.run_unit(units[0], Path(place) / "warm")
        print(f"{args.minutes} minutes of 48 kHz audio in {len(units)} units; load {os.getloadavg()[0]:.1f}")
        for number in range(args.rounds):
            whole, hashing, sealing = Spent(), Spent(), Spent()
            Probe.digest_of = hashing.over(digest_of)  # type: ignore[method-assign]
            SoundFile.flush = sealing.over(flush)  # type: ignore[method-assign]
            pipelines.chain.save = sealing.over(save)
            with whole:
                for unit in units:
                    chain.run_unit(unit, Path(place) / f"work{number}")
            wall, cpu = hashing.wall + sealing.wall, hashing.cpu + sealing.cpu
            print(
                f"round {number + 1}: chain {whole.wall:.2f} s (cpu {whole.cpu:.2f}), hashing {hashing.wall:.3f} s, "
                f"sealing {sealing.wall:.3f} s: bookkeeping {100 * wall / whole.wall:.1f} % of wall time, "
                f"{100 * cpu / whole.cpu:.1f} % of processor time",
                flush=True,
            )


if __name__ == "__main__":
    main()
