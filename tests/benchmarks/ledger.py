"""What part of the work is bookkeeping? Units through a worker as the job has it: the time that it hashes recordings,
and the time that no transform works since results and sound are brought to the disk. Writing sound is not counted.

    python tests/benchmarks/ledger.py [--minutes 60] [--rounds 3]
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from annotate import make, manifest_for

from pipelines.sealing import SoundFile
from pipelines.transforms.probe import Transform as Probe
from pipelines.units import Unit, plan_units
from pipelines.workers import UnitWorker


class Spent:
    """Seconds of wall time, and of this thread, within it."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> "Spent":
        self.wall, self.cpu = self.wall - time.monotonic(), self.cpu - time.thread_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall, self.cpu = self.wall + time.monotonic(), self.cpu + time.thread_time()


class Turn(Spent):
    """A worker's lock: seconds in which the transforms have it, and what of them `within` is called in."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.owner = threading.Lock(), 0

    def __enter__(self) -> "Turn":
        self.lock.acquire()
        self.owner = threading.get_ident()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__()
        self.owner = 0
        self.lock.release()

    def within(self, call: Callable[..., Any], spent: Spent) -> Callable[..., Any]:
        """The same function, counted where the caller has the turn."""

        def counted(*args: Any) -> Any:
            if self.owner != threading.get_ident():
                return call(*args)
            with spent:
                return call(*args)

        return counted


def main() -> None:
    """Print a line a round."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=int, default=60, help="of audio")
    words.add_argument("--rounds", type=int, default=3)
    args = words.parse_args()
    digest_of, flush = Probe.digest_of, SoundFile.flush
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "recordings"
        root.mkdir()
        recordings = make(root, minutes=args.minutes)
        manifest = manifest_for(1)
        units = plan_units(recordings, limits=manifest.units)
        worker = UnitWorker(manifest, Path(place) / "warm")

        def work_on(unit: Unit) -> None:
            worker({"unit": [unit.to_json()], "earlier": [""]})

        work_on(units[0])
        print(f"{args.minutes} minutes of 48 kHz audio in {len(units)} units; load {os.getloadavg()[0]:.1f}")
        for number in range(args.rounds):
            turn, hashing, flushing = Turn(), Spent(), Spent()
            worker.work, worker.turn = Path(place) / f"work{number}", turn  # type: ignore[assignment]
            Probe.digest_of = turn.within(digest_of, hashing)  # type: ignore[method-assign]
            SoundFile.flush = turn.within(flush, flushing)  # type: ignore[method-assign]
            began, cpu = time.monotonic(), time.process_time()
            with ThreadPoolExecutor(2) as calls:
                list(calls.map(work_on, units))
            wall, cpu = time.monotonic() - began, time.process_time() - cpu
            share = (wall - turn.wall + flushing.wall + hashing.wall) / wall
            share_of_cpu = (cpu - turn.cpu + flushing.cpu + hashing.cpu) / cpu
            print(
                f"round {number + 1}: {wall:.2f} s (cpu {cpu:.2f}), hashing {hashing.wall:.3f} s, flushing meanwhile "
                f"{flushing.wall:.3f} s, no transform at work {wall - turn.wall:.3f} s: bookkeeping "
                f"{100 * share:.1f} % of wall time, {100 * share_of_cpu:.1f} % of processor time",
                flush=True,
            )


if __name__ == "__main__":
    main()
