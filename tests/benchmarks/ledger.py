"""What part of the work is bookkeeping? The chain over units in one process, against hashing the recordings and making
the units' results and sound final (written, synced, renamed), by wall and by processor time.

    python tests/benchmarks/ledger.py [--minutes 60] [--rounds 3]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from annotate import make, manifest_for

from infra.storage import file_digest
from pipelines.chain import Chain
from pipelines.ledger import load, result_path, save, sound_path
from pipelines.units import plan_units


def spent(call: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall time, and of this process."""
    wall, cpu = time.monotonic(), time.process_time()
    call()
    return time.monotonic() - wall, time.process_time() - cpu


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
            whole = spent(lambda: [chain.run_unit(unit, work) for unit in units] and None)
            results = [load(result_path(work, unit=unit.id, chain=chain.fingerprint)) for unit in units]
            sounds = [sound_path(work, unit=unit.id, chain=chain.fingerprint).read_bytes() for unit in units]
            pairs = list(zip(results, sounds, strict=True))
            hashing = spent(lambda: [file_digest(Path(item.uri)) for item in recordings] and None)
            sealing = spent(lambda: [save(again, result, sound) for result, sound in pairs] and None)
            shares = [100 * (hashing[clock] + sealing[clock]) / whole[clock] for clock in (0, 1)]
            print(
                f"round {number + 1}: chain {whole[0]:.2f} s (cpu {whole[1]:.2f}), hashing {hashing[0]:.3f} s, "
                f"ledger {sealing[0]:.3f} s: {shares[0]:.1f} % of wall time, {shares[1]:.1f} % of processor time",
                flush=True,
            )


if __name__ == "__main__":
    main()
