"""Publishing: whole or not at all, resumed where it stopped, one winner, and read by ranges from where it lies."""

import json
import multiprocessing
import os
import re
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.buckets import Bucket, Storage, StorageError
from infra.cli import main
from infra.objects import Folder, Place
from infra.storage import ROOT
from infra.workflow.elsewhere import artifact_at
from infra.workflow.store import Store
from pipelines.ledger import read_ledger
from pipelines.packing.compact import compact
from pipelines.packing.publish import publish
from pipelines.packing.verify import verify
from pipelines.policy.takedown import take_down, tombstone_for, touched
from pipelines.policy.tombstones import FILE, Tombstone, append
from pipelines.shards import CorpusError, open_corpus, read_card
from tests.pipelines.corpora import corpus_of, manifest_of, segment
from tests.pipelines.packable import SHARD, build, items
from tests.processes import exit_code
from tests.s3 import Server, first

STEPS = ("stored", "put", "create")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    build(tmp_path / "toy", items(tmp_path, 6))
    return tmp_path / "toy"


@pytest.fixture(params=["folder", "bucket"])
def target(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Place:
    name = f"out{abs(hash(str(tmp_path)))}"
    return Folder(tmp_path / name) if request.param == "folder" else server.bucket(f"corpora/{name}")


def test_published_corpus_is_read_like_the_one_it_was_made_from(corpus: Path, target: Place) -> None:
    done = publish(corpus, target)
    assert (done.sent, done.there, done.won) == (5, 0, True)
    here, there = open_corpus(corpus), open_corpus(target)
    assert (there.name, there.digest, len(there)) == (here.name, here.digest, len(here))
    assert list(there.rows) == list(here.rows)
    assert there.seconds.tolist() == here.seconds.tolist()
    for number in (5, 0, 3):
        assert there.sample(number).record == here.sample(number).record
        assert np.array_equal(there.sample(number).wave_S, here.sample(number).wave_S)
    assert verify(target) == []


def test_samples_of_a_bucket_are_read_by_ranges(corpus: Path, server: Server) -> None:
    bucket = server.bucket("corpora/ranges")
    publish(corpus, bucket)
    there = open_corpus(bucket)
    server.seen.clear()
    there.sample(2)
    there.sample(1)
    asked = [(method, path.rsplit("/", 1)[1], bool(span)) for method, path, span in server.seen]
    tar, offsets = SHARD.rsplit("/", 1)[1], SHARD.rsplit("/", 1)[1] + ".idx"
    assert asked == [("GET", offsets, False), ("GET", tar, True), ("GET", tar, True)]
    server.seen.clear()
    assert len(there.seconds) == 6
    assert all(span for method, _, span in server.seen if method == "GET")


def test_a_store_is_asked_twice_for_each_file_and_never_for_a_listing(tmp_path: Path, server: Server) -> None:
    asked = []
    for name, soft_bytes in (("few", 10**6), ("many", 60_000)):
        build(tmp_path / name, items(tmp_path, 9), soft_bytes=soft_bytes)
        server.seen.clear()
        done = publish(tmp_path / name, server.bucket(f"corpora/asked-{name}"))
        of_files = [method for method, path, _ in server.seen if path.rsplit("/", 1)[1] != "corpus.json"]
        assert sorted(of_files) == ["HEAD"] * done.sent + ["PUT"] * done.sent
        asked.append(done.sent)
        assert len(server.seen) - len(of_files) <= 3
    assert asked[1] > asked[0] + 4


def test_broken_publish_goes_on_with_what_is_missing_or_differs(corpus: Path, target: Place) -> None:
    at = publish(corpus, target).at
    assert publish(corpus, target) == publish(corpus, target)
    assert publish(corpus, target).sent == 0
    assert not publish(corpus, target).won
    folder = target.inside(at)
    folder.put(SHARD, [b"other bytes"], sha256="0" * 64)
    assert any("its sha256 is" in told for told in verify(target))
    done = publish(corpus, target)
    assert (done.sent, done.there) == (1, 4)
    assert verify(target) == []


def test_sixteen_publishers_of_sixteen_corpora_have_one_winner(corpus: Path, target: Place, tmp_path: Path) -> None:
    card = read_card(corpus)
    for number in range(16):
        copy = tmp_path / f"copy{number}"
        copy.mkdir()
        for name in ("shards", "index"):
            (copy / name).symlink_to(corpus / name)
        (copy / "corpus.json").write_text(json.dumps({**card, "name": f"toy{number}"}))

    def attempt(number: int) -> str:
        try:
            return "won" if publish(tmp_path / f"copy{number}", target, at_once=1).won else "there"
        except CorpusError as error:
            return str(error)

    with ThreadPoolExecutor(16) as pool:
        ends = list(pool.map(attempt, range(16)))
    assert ends.count("won") == 1
    winner = ends.index("won")
    assert all(f"toy{winner}@" in end and "publish toy" in end for end in ends if end != "won")
    assert open_corpus(target).name == f"toy{winner}"
    assert verify(target) == []


def test_publishers_of_the_same_corpus_all_succeed(corpus: Path, target: Place) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: publish(corpus, target), range(8)))
    assert [one.won for one in done].count(True) == 1
    assert verify(target) == []


def test_another_corpus_is_refused_before_anything_is_sent(corpus: Path, target: Place, tmp_path: Path) -> None:
    publish(corpus, target)
    build(tmp_path / "other", items(tmp_path, 4))
    with pytest.raises(CorpusError, match="is published there, and stays"):
        publish(tmp_path / "other", target)
    assert verify(target) == []


def test_damaged_shard_is_not_published(corpus: Path, target: Place) -> None:
    shard = corpus / SHARD
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(CorpusError, match="is damaged"):
        publish(corpus, target)
    with pytest.raises(CorpusError, match="not a corpus|is not a folder"):
        open_corpus(target)
    shard.unlink()
    with pytest.raises(CorpusError, match="is missing; run"):
        publish(corpus, target)


def test_corpus_with_samples_taken_down_is_not_published(corpus: Path, target: Place) -> None:
    key = open_corpus(corpus).rows[0]["key"]
    told = {"why": "asked", "who": "me", "when": "2026-01-01T00:00:00+00:00"}
    append(corpus / FILE, [Tombstone(field="key", values=(key,), corpus=None, **told)])
    with pytest.raises(CorpusError, match="1 of its samples are taken down, and would be published"):
        publish(corpus, target)


def test_store_that_fails_in_between_leaves_no_corpus_and_is_resumed(corpus: Path, server: Server) -> None:
    bucket = server.bucket("corpora/failing", retries=0)
    puts = [0]

    def third_put(environ: dict[str, Any]) -> str | None:
        puts[0] += environ["REQUEST_METHOD"] == "PUT"
        return "503 Slow Down" if puts[0] >= 3 else None

    server.fault = third_put
    with pytest.raises(StorageError, match="answers 503"):
        publish(corpus, bucket, at_once=1)
    server.fault = None
    with pytest.raises(CorpusError, match="no corpus.json"):
        open_corpus(bucket)
    assert publish(corpus, bucket).there == 2
    server.fault = first(2, "reset")
    with pytest.raises(CorpusError, match="cannot be reached"):
        open_corpus(server.bucket("corpora/failing", retries=0))
    assert open_corpus(server.bucket("corpora/failing")).name == "toy"


class Deadly:
    """A place whose process is killed at one of its calls."""

    def __init__(self, place: Place, *, at: int) -> None:
        self.place, self.left = place, [at]

    def inside(self, name: str) -> "Deadly":
        other = Deadly(self.place.inside(name), at=0)
        other.left = self.left
        return other

    def __getattr__(self, name: str) -> Any:
        if name in STEPS:
            self.left[0] -= 1
            if self.left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self.place, name)

    def __str__(self) -> str:
        return str(self.place)


def publish_and_die(corpus: Path, url: str, storage: dict[str, Any], at: int) -> None:
    """The child: publish, up to call `at`; calls come one after another."""
    os.environ.update({"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"})
    place = Bucket(url, Storage(**storage)) if "://" in url else Folder(Path(url))
    publish(corpus, Deadly(place, at=at), at_once=1)


def test_publisher_killed_between_any_two_calls_shows_no_partial_corpus(corpus: Path, target: Place) -> None:
    storage = target.storage.model_dump() if isinstance(target, Bucket) else {}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "obstore.store", "pyarrow.parquet"])
    deaths = 0
    for at in range(1, 40):
        place = target.inside(f"at{at}")
        child = context.Process(target=publish_and_die, args=(corpus, str(place), storage, at))
        child.start()
        if exit_code(child) == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        deaths += 1
        with pytest.raises(CorpusError):
            open_corpus(place)
        publish(corpus, place)
        assert verify(place) == []
    assert deaths == 12, "one a question and one a file, and the card"
    assert verify(place) == []


def fill(corpus: Path, out: Path) -> None:
    """The child: no file may grow over 50 kB, which is what a full disk does to a write."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    raise SystemExit(main(["corpus", "publish", str(corpus), str(out)]))


def test_full_disk_is_a_sentence_and_the_rest_is_sent_later(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    child = multiprocessing.get_context("spawn").Process(target=fill, args=(corpus, out))
    child.start()
    assert exit_code(child) == 1
    assert "raise it (ulimit -f) and run the same command again" in capfd.readouterr().err
    assert not list(out.rglob("*.tmp"))
    with pytest.raises(CorpusError):
        open_corpus(out)
    assert publish(corpus, Folder(out)).won


def test_command_publishes_and_proves(
    corpus: Path, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "storage.yaml"
    manifest.write_text(f"endpoint: {server.url}\nregion: us-east-1\nretries: 0\n")
    words = ["corpus", "publish", str(corpus), "s3://corpora/told", "--storage", str(manifest)]
    assert main([*words, "--verify"]) == 0
    told = capsys.readouterr()
    assert told.out == "s3://corpora/told\n"
    assert "5 files sent" in told.err
    assert main(words) == 0
    assert "0 files sent, 0.0 MB, 5 were there; published before" in capsys.readouterr().err
    assert main([*words[:3], "s3://not-there/x", *words[4:]]) == 1
    assert "there is no such bucket" in capsys.readouterr().err


def test_verify_reads_a_published_corpus_where_the_environment_says(
    corpus: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(corpus, server.bucket("corpora/env"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert main(["corpus", "verify", "s3://corpora/env"]) == 0
    assert "6 samples in 2 shards, as written" in capsys.readouterr().out


def test_published_corpus_is_what_a_stage_trains_on(
    corpus: Path, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = server.bucket("corpora/trained")
    publish(corpus, bucket)
    made = artifact_at(bucket.url, Store(tmp_path / "store"), storage=bucket.storage)
    assert (made.kind, made.name, made.digest) == ("corpus", "toy", open_corpus(corpus).digest)
    there = open_corpus(made.out)
    assert np.array_equal(there.sample(4).wave_S, open_corpus(corpus).sample(4).wave_S)
    assert there.place.inside("x") == open_corpus(bucket).place.inside("x")
    manifest = tmp_path / "storage.yaml"
    manifest.write_text(f"endpoint: {server.url}\nregion: us-east-1\nretries: 0\n")
    stage = ROOT / "manifests" / "train" / "tiny" / "audiovae_stage1.yaml"
    assert main(["train", "plan", str(stage), "--data", bucket.url, "--storage", str(manifest)]) == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("data"))
    known = re.match(r"data +(\d+) samples, .* (\d+) held out", said)
    assert known is not None, said
    assert int(known[1]) + int(known[2]) == 6
    assert main(["train", "run", str(stage), "--data", "s3://corpora/nothing", "--storage", str(manifest)]) == 1
    assert "s3://corpora/nothing: no published corpus" in capsys.readouterr().err


def test_who_was_only_dropped_and_is_taken_down_is_not_published(tmp_path: Path) -> None:
    made = [
        segment(n, mos_overall=float(n), given_speaker="jane" if n < 2 else "bob", text=f"word{n}") for n in range(4)
    ]
    root = corpus_of(tmp_path / "toy", made, manifest=manifest_of(keep=[{"name": "mos", "min": 2}]))
    stone = tombstone_for(root, field="speaker", values=["jane"], why="asked to", who="me")
    take_down(root, stone, touched(root, stone))
    assert len(open_corpus(root)) == len(open_corpus(root, whole=True)) == 2, "nothing of her is in a shard"
    with pytest.raises(CorpusError, match="2 rows of its ledger, and perhaps its page, tell of what was taken down"):
        publish(root, Folder(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    compact(root, tmp_path / "new", soft_bytes=1 << 20)
    publish(tmp_path / "new", Folder(tmp_path / "out"))
    (ledger,) = (tmp_path / "out").glob("*/ledger.parquet")
    assert not {"jane", "word0", "r1.wav"} & {
        value for row in read_ledger(ledger.parent) for value in map(str, row.values())
    }
