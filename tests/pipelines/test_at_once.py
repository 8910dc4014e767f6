"""Two commands at once on one corpus, or into one folder: nothing is mixed, lost, or let out that was taken down."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from infra.cli import main
from infra.locks import owned
from infra.objects import Folder
from infra.workflow.node import Refused
from pipelines.copies.clip_sets import clips_at
from pipelines.copies.dedup import copies, write_tombstones
from pipelines.ledger import Fate, RecordingFact, UnitResult, result_path, save, sound_path
from pipelines.packing import compact as compacting
from pipelines.packing import export, publish
from pipelines.packing.verify import verify
from pipelines.policy import selection
from pipelines.policy.selection import tally, write_selection
from pipelines.policy.takedown import take_down, tombstone_for, touched
from pipelines.policy.views import CARD
from pipelines.sealing import SoundFile
from pipelines.shards import CorpusError, open_corpus
from tests.pipelines.corpora import corpus_of, manifest_of, segment

SEGMENTS = [segment(n, mos_overall=float(n), given_speaker=f"s{n % 3}", license="CC-BY-4.0") for n in range(6)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_of(tmp_path / "toy", SEGMENTS)


def forget(root: Path, speaker: str = "s1") -> None:
    """Take a speaker down."""
    made = tombstone_for(root, field="speaker", values=[speaker], why="asked to", who="me")
    take_down(root, made, touched(root, made))


def before(usual: Callable[..., object], do: Callable[[], None]) -> Callable[..., object]:
    """`usual`, and `do` before its first call."""
    did = []

    def called(*words: object, **more: object) -> object:
        if not did:
            did.append(do)
            do()
        return usual(*words, **more)

    return called


def test_what_is_taken_down_while_it_is_published_is_not_published(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "send", before(publish.send, lambda: forget(corpus)))
    with pytest.raises(CorpusError, match="2 of its samples are taken down, and would be published"):
        publish.publish(corpus, Folder(tmp_path / "out"))
    assert not (tmp_path / "out" / "corpus.json").exists()


def test_what_is_taken_down_while_a_version_is_written_is_in_no_version(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(corpus, "s2")
    monkeypatch.setattr(compacting, "write_shard", before(compacting.write_shard, lambda: forget(corpus)))
    with pytest.raises(Refused, match="more of toy was taken down while it was written; remove it, and run this again"):
        compacting.compact(corpus, tmp_path / "new", soft_bytes=20_000)
    assert not (tmp_path / "new" / "corpus.json").exists()


def test_what_is_taken_down_while_it_is_exported_is_told(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(export.WRITERS, "jsonl", before(export.WRITERS["jsonl"], lambda: forget(corpus)))
    words = ["corpus", "export", str(corpus), "--format", "jsonl", "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "more of toy was taken down while it was written; remove it" in capsys.readouterr().err


def test_of_two_versions_that_are_written_into_one_folder_at_once_one_is_refused(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = corpus_of(tmp_path / "other", SEGMENTS[:3], manifest=manifest_of(name="other"))
    told: list[str] = []

    def second() -> None:
        with pytest.raises(Refused) as caught:
            compacting.compact(other, tmp_path / "new", soft_bytes=20_000)
        told.append(str(caught.value))

    monkeypatch.setattr(compacting, "left_of", before(compacting.left_of, second))
    assert compacting.compact(corpus, tmp_path / "new", soft_bytes=20_000)["name"] == "toy"
    assert told == [f"{tmp_path / 'new'}: another process writes into it; give a new folder"]
    assert verify(tmp_path / "new") == []
    with pytest.raises(Refused, match="is not empty"):
        compacting.compact(other, tmp_path / "new", soft_bytes=20_000)
    with pytest.raises(Refused, match="is no folder"):
        compacting.compact(other, corpus / "corpus.json", soft_bytes=20_000)


@pytest.mark.parametrize("other", ["written", "read"])
def test_a_view_that_is_written_by_one_while_another_writes_or_reads_it_is_whole(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    view, usual = tmp_path / "view", selection.replacing
    found: list[object] = []

    def write(minimum: int) -> None:
        policy = manifest_of(keep=[{"name": "mos", "min": minimum}])
        write_selection(view, corpus, tally(corpus, policy=policy), name="view", policy={"min": minimum})

    def beside() -> None:
        monkeypatch.setattr(selection, "replacing", usual)
        if other == "written":
            write(4)
        found.append(len(open_corpus(view)))

    @contextmanager
    def table_first(path: Path) -> Iterator[BinaryIO]:
        """The table of the view is there, and its card is not yet."""
        with usual(path) as file:
            yield file
            if path.name == CARD:
                thread.start()
                thread.join(1.0)  # it ends in the middle of us, or it waits for us

    write(1)
    thread = threading.Thread(target=beside)
    monkeypatch.setattr(selection, "replacing", table_first)
    write(3)
    thread.join()
    assert found == [2 if other == "written" else 3]
    assert len(open_corpus(view)) == found[0]


def test_two_who_compare_the_same_corpora_at_once_hide_no_sound_altogether(tmp_path: Path) -> None:
    """Each prefers the corpus that the other one would empty."""
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        made = [segment(n, samples=32_000, seconds=2.0, corpus=root.name) for n in range(3)]
        corpus_of(root, made, manifest=manifest_of(name=root.name))
    sets = [clips_at(root, say=lambda line: None) for root in (one, two)]
    first, second = copies(sets), copies(sets[::-1])
    assert (len(first), len(second)) == (3, 3)
    assert write_tombstones(first, sets, [], who="me") == 1
    assert write_tombstones(second, sets[::-1], [], who="her") == 0
    assert (len(open_corpus(one)), len(open_corpus(two))) == (3, 0)


def test_retry_leaves_a_build_alone_that_is_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, names = tmp_path / "toy" / "work", {"unit": "u0", "chain": "c0"}
    fate = Fate("a.wav", 1.0, "failed", "probe", "unreadable: torn")
    with SoundFile(sound_path(work, **names)) as sound:
        save(work, UnitResult(**names, recordings=[RecordingFact("a.wav", 1.0, 0)], fates=[fate]), sound)
    with owned(tmp_path / "toy" / ".lock"):
        assert main(["corpus", "retry", str(tmp_path / "toy")]) == 1
    assert f"{work}: in use; say this again when the build there is done" in capsys.readouterr().out
    assert json.loads(result_path(work, **names).read_text().splitlines()[0])["unit"] == "u0"
    assert main(["corpus", "retry", str(tmp_path / "toy")]) == 0
    assert not result_path(work, **names).exists()
