"""What part of the work is bookkeeping? The chain over units in one process, against hashing the recordings and making
the units' results and sound final (written, synced, renamed), less plainly writing the sound, which every chain must.

    python tests/benchmarks/ledger.py [--minutes 60] [--rounds 3]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from annotate import make, manifest_for

from infra.storage import file_digest
from pipelines.chain import Chain
from pipelines.ledger import load, result_path, save, sound_path
from pipelines.units import plan_units


class Spent:
    """Seconds of wall time, and of this process, within it."""

    def __enter__(self) -> "Spent":
        self.wall, self.cpu = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall, self.cpu = time.monotonic() - self.wall, time.process_time() - self.cpu


def main() -> None:
    """Print a line a round."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=int, default=60, help="of audio")
    words.add_argument("--rounds", type=int, default=3)
    args = words.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "recordings"
        root.mkdir()
        recordings = make(root, minutes=args.minutes)
        manifest = manifest_for(1)
        units, chain = plan_units(recordings, limits=manifest.units), Chain(manifest)
        chain.run_unit(units[0], Path(place) / "warm")
        print(f"{args.minutes} minutes of 48 kHz audio in {len(units)} units; load {os.getloadavg()[0]:.1f}")
        for number in range(args.rounds):
            work, again = Path(place) / f"work{number}", Path(place) / f"again{number}"
            with Spent() as whole:
                for unit in units:
                    chain.run_unit(unit, work)
            results = [load(result_path(work, unit=unit.id, chain=chain.fingerprint)) for unit in units]
            sounds = [sound_path(work, unit=unit.id, chain=chain.fingerprint).read_bytes() for unit in units]
            with Spent() as hashing:
                for recording in recordings:
                    file_digest(Path(recording.uri))
            plain = Path(place) / f"plain{number}"
            plain.mkdir()
            with Spent() as writing:
                for result, sound in zip(results, sounds, strict=True):
                    (plain / result.unit).write_bytes(sound)
            with Spent() as sealing:
                for result, sound in zip(results, sounds, strict=True):
                    save(again, result, sound)
            wall = hashing.wall + sealing.wall - writing.wall
            cpu = hashing.cpu + sealing.cpu - writing.cpu
            print(
                f"round {number + 1}: chain {whole.wall:.2f} s (cpu {whole.cpu:.2f}), hashing {hashing.wall:.3f} s, "
                f"sealing {sealing.wall:.3f} s, of it plain writing {writing.wall:.3f} s: bookkeeping "
                f"{100 * wall / whole.wall:.1f} % of wall time, {100 * cpu / whole.cpu:.1f} % of processor time",
                flush=True,
            )


if __name__ == "__main__":
    main()
