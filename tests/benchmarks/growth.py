"""How do time, memory and disk grow with the input? Builds corpora of 1, 3 and 10 hours by the command.

    python tests/benchmarks/growth.py [--hours 1 3 10] [--manifest manifests/corpora/tiny.yaml]

Memory is the largest resident set that was seen, of the driver and of any worker, sampled every half second.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from annotate import make

ROOT = Path(__file__).parents[2]


class Watch(threading.Thread):
    """The largest resident set of a process, and of any worker below it; and their processor time."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.root = psutil.Process(pid)
        self.driver = self.worker = 0
        self.cpu: dict[int, float] = {}

    def run(self) -> None:
        """Until it ends."""
        while self.root.is_running() and self.root.status() != psutil.STATUS_ZOMBIE:
            try:
                self.driver = max(self.driver, self.root.memory_info().rss)
                for child in [self.root, *self.root.children(recursive=True)]:
                    self.cpu[child.pid] = sum(child.cpu_times()[:2])
                    if "MapWorker" in " ".join(child.cmdline()):
                        self.worker = max(self.worker, child.memory_info().rss)
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.5)


def main() -> None:
    """Print the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--hours", type=float, nargs="+", default=[1, 3, 10])
    words.add_argument("--manifest", default=str(ROOT / "manifests" / "corpora" / "tiny.yaml"))
    args = words.parse_args()
    print(
        f"{'hours in':>9}{'wall s':>9}{'cpu s':>9}{'cpu s/h':>9}{'driver MB':>11}{'worker MB':>11}{'corpus MB/h':>13}"
    )
    for number, hours in enumerate(args.hours):
        with tempfile.TemporaryDirectory() as place:
            recordings = Path(place) / "recordings"
            recordings.mkdir()
            make(recordings, minutes=round(hours * 60))
            began = time.monotonic()
            told_what = ["corpus", "build", args.manifest, "--recordings", str(recordings), "--force"]
            with subprocess.Popen(
                [sys.executable, "-m", "infra.cli", *told_what, "--set", f"name=growth_{number}"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                watch = Watch(process.pid)
                watch.start()
                told, complaint = process.communicate()
            wall = time.monotonic() - began
            if process.returncode:
                sys.exit(complaint[-2000:])
            size = sum(path.stat().st_size for path in Path(told.strip()).rglob("shards/**/*") if path.is_file())
            cpu = sum(watch.cpu.values())
            print(
                f"{hours:>9g}{wall:>9.1f}{cpu:>9.1f}{cpu / hours:>9.1f}{watch.driver / 1e6:>11.0f}"
                f"{watch.worker / 1e6:>11.0f}{size / 1e6 / hours:>13.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
