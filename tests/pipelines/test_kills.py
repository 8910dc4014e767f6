"""A hundred SIGKILLs, to workers, raylets and drivers: no sample is lost, doubled or changed, no shard seen in part."""

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import soundfile
from ray.cluster_utils import Cluster

from infra.digests import file_digest
from models.frozen.espeak import Espeak, Utterance
from pipelines.catalog import write_catalog
from pipelines.packing.verify import verify
from pipelines.readers import folder
from pipelines.shards import open_corpus

pytestmark = pytest.mark.system

Popen = Callable[..., "subprocess.Popen[str]"]
DRIVER = Path(__file__).with_name("drive_build.py")
ROOT = DRIVER.parents[2]
KILLS = 100
SEED = 20260611
SENTENCES = (
    "The morning train was late again.", "Nobody had told her about the letter.", "We walked home along the river.",
)  # fmt: skip
VICTIMS = {"worker": 0.72, "raylet": 0.1, "driver": 0.18}
"""What is killed, and how often."""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 recordings, most of them fine."""
    root = tmp_path_factory.mktemp("recordings")
    voices = Espeak()([Utterance(text=text, voice="en") for text in SENTENCES])
    for number in range(54):
        wave_S = voices[number % 3] * np.float32(0.5 + number / 200)
        soundfile.write(root / f"{number:02d}.wav", wave_S, Espeak.RATE_HZ)
        (root / f"{number:02d}.txt").write_text(SENTENCES[number % 3])
    for number in range(3):
        (root / f"corrupt{number}.flac").write_bytes(b"fLaC" + bytes(range(256)) * (number + 1))
        soundfile.write(root / f"silence{number}.wav", np.zeros(16000 + number), 16000)
    write_catalog(root, folder.recordings(folder.Config(), root))
    return root


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without processors, and two machines with one each."""
    with tempfile.TemporaryDirectory(prefix="rk", dir="/tmp") as place:
        monkeypatch.setenv("RAY_TMPDIR", place)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(2):
                add_machine(cluster, Path(place))
            yield cluster
        finally:
            cluster.shutdown()


def add_machine(cluster: Cluster, place: Path, *, wait: bool = True) -> None:
    """One with a processor and a disk of its own: no machine finds what another one left half unpacked."""
    disk = tempfile.mkdtemp(dir=place)
    cluster.add_node(wait=wait, num_cpus=1, object_store_memory=80 * 2**20, temp_dir=disk)


class Nemesis:
    """Kills what belongs to a build, by a seeded plan, and watches what a reader would see meanwhile."""

    def __init__(self, cluster: Cluster, whole: Path, catalog: Path, popen: Popen) -> None:
        self.cluster, self.whole, self.catalog, self.popen = cluster, whole, catalog, popen
        self.place = Path(cluster.head_node.get_temp_dir_path())
        self.chance = random.Random(SEED)
        self.kills: Counter[str] = Counter()
        self.right = {path.name: file_digest(path) for path in (whole / "out").rglob("*.tar")}

    def drive(self, folder: Path) -> "subprocess.Popen[str]":
        words = [sys.executable, str(DRIVER), self.cluster.address, str(self.catalog), str(folder)]
        with (folder / "told.txt").open("a") as told:
            return self.popen(words, stdout=subprocess.PIPE, stderr=told, text=True)

    def build(self, folder: Path) -> str:
        """Build in `folder`, killing all the while until enough is killed; the driver is started again when it dies."""
        folder.mkdir(parents=True)
        while True:
            driver = self.drive(folder)
            stopped = self.torment(driver, folder)
            told, _ = driver.communicate()
            if not stopped:
                assert driver.returncode == 0, (folder / "told.txt").read_text()[-3000:]
                return told.split()[-1]  # Ray says on stdout what became of its machines

    def torment(self, driver: "subprocess.Popen[str]", folder: Path) -> bool:
        """Until the driver has ended, or was killed: then True."""
        pause = time.monotonic() + 2
        while driver.poll() is None:
            self.look(folder)
            if self.kills.total() < KILLS and time.monotonic() > pause:
                victim = self.chance.choices(list(VICTIMS), list(VICTIMS.values()))[0]
                if victim == "driver":
                    self.kills["driver"] += 1
                    driver.kill()
                    return True
                self.kills[victim] += self.kill_worker() if victim == "worker" else self.kill_raylet()
                pause = time.monotonic() + self.chance.uniform(0.1, 1.2)
            time.sleep(0.05)
        return False

    def kill_worker(self) -> bool:
        """One that has a chain in hand, if there is any; whatever is looked at may just be ending."""
        found = []
        for node in self.cluster.worker_nodes:
            (raylet,) = node.all_processes["raylet"]
            with suppress(psutil.Error):
                for child in psutil.Process(raylet.process.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        if "MapWorker" in " ".join(child.cmdline()):
                            found.append(child)
        if not found:
            return False
        with suppress(psutil.NoSuchProcess):
            self.chance.choice(sorted(found, key=lambda process: process.pid)).kill()
            return True
        return False

    def kill_raylet(self) -> bool:
        """A machine is gone, with all its workers; another one comes."""
        node = self.chance.choice(sorted(self.cluster.worker_nodes, key=lambda node: node.node_ip_address))
        self.cluster.remove_node(node, allow_graceful=False)
        add_machine(self.cluster, self.place, wait=False)
        return True

    def look(self, folder: Path) -> None:
        """Every shard that can be seen under its name is whole."""
        for path in (folder / "out").rglob("*.tar"):
            data = path.read_bytes() if path.exists() else None
            assert data is None or hashlib.sha256(data).hexdigest() == self.right[path.name], f"{path}: seen in part"


def files(out: Path) -> dict[str, str]:
    """What a corpus is: its shards with their indexes, and its card."""
    found = [*(out / "shards").rglob("*"), out / "corpus.json"]
    return {path.relative_to(out).as_posix(): file_digest(path) for path in found if path.is_file()}


def samples(root: Path) -> dict[str, tuple[Any, ...]]:
    """Key -> what the sample is, down to its bytes; no key twice."""
    corpus = open_corpus(root / "out")
    keys = [str(row["key"]) for row in corpus.rows]
    assert len(set(keys)) == len(keys), "a sample twice"
    return {key: corpus.members(number) for number, key in enumerate(keys)}


@pytest.mark.timeout(3000)
def test_nothing_is_lost_doubled_or_changed_by_a_hundred_kills(
    machines: Cluster, catalog: Path, tmp_path: Path, popen: Popen
) -> None:
    whole = tmp_path / "0" / "whole"
    whole.mkdir(parents=True)
    undisturbed = subprocess.run(
        [sys.executable, str(DRIVER), "local", str(catalog), str(whole)],
        capture_output=True,
        text=True,
    )
    assert undisturbed.returncode == 0, undisturbed.stderr
    nemesis = Nemesis(machines, whole, catalog, popen)
    expected, builds = samples(whole), 0
    assert len(expected) == 54
    while nemesis.kills.total() < KILLS:
        builds += 1
        folder = tmp_path / str(builds) / "build"  # each alone: side by side, they would take over one another's units
        assert nemesis.build(folder) == undisturbed.stdout.strip()
        assert samples(folder) == expected
        assert verify(folder / "out") == []
        assert files(folder / "out") == files(whole / "out")
    assert nemesis.kills.total() >= KILLS
    assert set(nemesis.kills) == set(VICTIMS)
    print(f"{dict(nemesis.kills)} in {builds} builds")
    assert not ray.is_initialized()
