"""Tombstones: hidden from readers at once, from every corpus of the store and every later build; written once."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from infra.objects import Folder
from infra.storage import write_json
from infra.workflow.node import Refused
from pipelines import ledger
from pipelines.ledger import read_ledger
from pipelines.packing import index
from pipelines.packing.index import Rows
from pipelines.packing.publish import publish
from pipelines.packing.verify import verify
from pipelines.policy import redaction
from pipelines.policy.conditions import read_condition
from pipelines.policy.takedown import take_down, tombstone_for, touched
from pipelines.policy.tombstones import (
    FILE,
    Tombstone,
    append,
    publish_tombstone,
    published_tombstones,
    read_tombstones,
    store_list,
    tombstones_of,
)
from pipelines.policy.what_if import what_if
from pipelines.policy.withdrawn import Withdrawn
from pipelines.policy.withheld import withholding
from pipelines.row import as_row
from pipelines.shards import CorpusError, open_corpus
from tests.pipelines.corpora import corpus_of, segment
from tests.pipelines.packable import write_ledger
from tests.s3 import Server

FACTS = {"why": "asked to", "who": "me", "when": "2026-01-02T00:00:00+00:00"}
SEGMENTS = [
    segment(n, sha=f"{n // 2:064x}", start_sample=1000 * (n % 2), recording=f"r{n // 2}.wav",
            given_speaker=f"s{n // 4}", source=f"https://x.org/{n // 6}")
    for n in range(12)
]  # fmt: skip


def in_store(store: Path, name: str) -> Path:
    """A corpus in a slot of a store."""
    out = corpus_of(store / name / "0123456789abcdef" / "out", SEGMENTS)
    write_json(out.parent / "state.json", {"status": "committed"})
    return out


def taken(root: Path, field: str, value: str) -> int:
    """Take down, and say how many samples are left."""
    made = tombstone_for(root, field=field, values=[value], why="asked to", who="me")
    take_down(root, made, touched(root, made))
    return len(open_corpus(root))


@pytest.mark.parametrize(
    ("field", "value", "hidden"),
    [
        ("speaker", "s1", [4, 5, 6, 7]), ("recording", "r3.wav", [6, 7]),
        ("url", "https://x.org/1", [6, 7, 8, 9, 10, 11]),
        ("sha256", SEGMENTS[5].recording_sha256, [4, 5]), ("key", SEGMENTS[5].key, [5]),
    ],
)  # fmt: skip
def test_readers_do_not_see_what_was_taken_down(tmp_path: Path, field: str, value: str, hidden: list[int]) -> None:
    root = corpus_of(tmp_path / "toy", SEGMENTS)
    before = open_corpus(root)
    taken(root, field, value)
    after = open_corpus(root)
    gone = {SEGMENTS[number].key for number in hidden}
    assert [row["key"] for row in after.rows] == [row["key"] for row in before.rows if row["key"] not in gone]
    assert after.sample(0).key == after.rows[0]["key"]
    assert after.digest != before.digest
    assert len(open_corpus(root, whole=True)) == 12
    assert verify(root) == []


def test_it_holds_in_every_corpus_of_the_store_and_in_later_builds(tmp_path: Path) -> None:
    one, two = in_store(tmp_path, "one"), in_store(tmp_path, "two")
    assert taken(one, "key", SEGMENTS[5].key) == 11
    assert len(open_corpus(two)) == 11
    assert [item.id for item in read_tombstones(two / FILE)] == [item.id for item in read_tombstones(one / FILE)]
    why = withholding(corpus="three", store=tmp_path)
    told = [why(as_row(item)) for item in SEGMENTS]
    assert [number for number, refusal in enumerate(told) if refusal] == [5]
    assert told[5] == ("takedown", f"takedown: asked to ({tombstones_of(one)[0].when[:10]})")
    cut_again = replace(SEGMENTS[5], key="x" * 26, start_sample=1700, end_sample=4000)
    assert why(as_row(cut_again)), "the same interval, cut another way"
    assert not why(as_row(replace(cut_again, start_sample=1800))), "what lies beside it stays"
    shutil.rmtree(tmp_path / "_tombstones")
    assert len(open_corpus(one)) == 11, "a copy of a corpus takes its own list along"


def test_speaker_is_known_by_name_in_his_corpus_only_and_by_what_he_said_everywhere(tmp_path: Path) -> None:
    one = in_store(tmp_path, "one")
    taken(one, "speaker", "s0")
    namesake = replace(SEGMENTS[11], given_speaker="s0")
    assert withholding(corpus="toy", store=tmp_path)(as_row(namesake))
    assert not withholding(corpus="other", store=tmp_path)(as_row(namesake))
    assert withholding(corpus="other", store=tmp_path)(as_row(replace(SEGMENTS[0], given_speaker="z")))


def test_second_time_changes_nothing_and_two_at_once_lose_nothing(tmp_path: Path) -> None:
    root = corpus_of(tmp_path / "toy", SEGMENTS)
    taken(root, "speaker", "s1")
    text = (root / FILE).read_text()
    assert taken(root, "speaker", "s1") == 8
    assert (root / FILE).read_text() == text
    path = tmp_path / "list.jsonl"
    stones = [Tombstone(field="key", values=(str(number),), corpus=None, **FACTS) for number in range(40)]
    threads = [threading.Thread(target=append, args=(path, stones[number::4])) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {item.values for item in read_tombstones(path)} == {item.values for item in stones}


def test_second_time_adds_what_has_come_since(tmp_path: Path) -> None:
    one, two = in_store(tmp_path, "one"), in_store(tmp_path, "two")
    early = tombstone_for(one, field="speaker", values=["s1"], why="asked to", who="me")
    early = replace(early, spans=early.spans[:1])
    take_down(one, early, [])
    target = Folder(tmp_path / "published")
    assert [publish_tombstone(target, early), publish_tombstone(target, early)] == [True, False]
    assert taken(one, "speaker", "s1") == 8
    assert {row["given_speaker"] for row in open_corpus(two).rows} == {"s0", "s2"}
    first, second = read_tombstones(tmp_path / "_tombstones" / FILE)
    assert (first.decision, first.spans) == (second.decision, early.spans)
    assert set(early.spans) < set(second.spans)
    assert [publish_tombstone(target, second), publish_tombstone(target, early)] == [True, False]
    assert published_tombstones(target) == [first, second]
    assert touched(one, second)[0].known_since == first.when


def test_list_takes_any_reason_and_goes_on_after_a_line_that_a_person_left_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / FILE
    first, second = (
        Tombstone(field="key", values=(name,), corpus=None, **{**FACTS, "why": "asked\u2028by mail\x85"})
        for name in ("a", "b")
    )
    append(path, [first])
    path.write_text(path.read_text().removesuffix("\n"))
    append(path, [second])
    assert read_tombstones(path) == [first, second]


def test_more_of_the_same_recording_is_written_down_and_what_is_covered_is_not(tmp_path: Path) -> None:
    def added(*spans: tuple[float, float]) -> int:
        told = tuple(("f" * 64, start, end) for start, end in spans)
        stone = Tombstone(field="speaker", values=("s1",), corpus="toy", spans=told, **FACTS)
        return append(tmp_path / FILE, [stone])

    assert [added((0, 1)), added((0, 1)), added((0.5, 3)), added((0.2, 2.9)), added((0, 1), (4, 5))] == [1, 0, 1, 0, 1]


def test_sound_is_known_by_the_hash_of_its_samples_whatever_file_it_came_in(tmp_path: Path) -> None:
    stone = Tombstone(field="sha256", values=("a" * 64,), corpus=None, **FACTS)
    append(store_list(tmp_path), [stone])
    why = withholding(corpus="toy", store=tmp_path)
    assert why(as_row(replace(SEGMENTS[0], pcm_sha256="a" * 64)))
    assert not why(as_row(replace(SEGMENTS[0], pcm_sha256="b" * 64)))


def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    root = corpus_of(tmp_path / "toy", SEGMENTS)
    with pytest.raises(Refused, match=r"toy: nothing has the recording 'r33.wav'; did you mean 'r3.wav'"):
        tombstone_for(root, field="recording", values=["r33.wav"], why="w", who="me")
    assert not (root / FILE).exists()


def test_what_gave_no_segment_can_be_taken_down_before_a_retry_lets_it_in(tmp_path: Path) -> None:
    root, failed = in_store(tmp_path, "one"), "1/broken.wav"
    rows = read_ledger(root)
    nothing = {"key": None, "status": "failed", "reasons": ["decode"], "rate_hz": None, "given_speaker": "s9"}
    write_ledger(
        root / "ledger.parquet", [*rows, {**rows[0], **nothing, "recording": failed, "recording_sha256": None}]
    )
    for field, value in [("recording", failed), ("sha256", "AB" * 32), ("speaker", "s9")]:
        assert taken(root, field, value) == 12
    why = withholding(corpus="toy", store=tmp_path)
    told = [{"recording": failed}, {"recording_sha256": "ab" * 32}, {"given_speaker": "s9"}, {}]
    row = as_row(segment(99))
    assert [why({**row, **facts}) is not None for facts in told] == [True, True, True, False]
    with pytest.raises(Refused, match="nothing has the sha256 'abc'"):
        taken(root, "sha256", "abc")


def test_row_by_row_and_column_by_column_agree() -> None:
    stones = [
        Tombstone(field="speaker", values=("s1", "s2"), corpus="toy", **FACTS),
        Tombstone(field="key", values=(SEGMENTS[0].key,), corpus="elsewhere", **FACTS),
        Tombstone(
            field="url", values=("nowhere",), corpus=None, spans=((SEGMENTS[2].recording_sha256, 0.0, 0.06),), **FACTS
        ),
    ]
    withdrawn = Withdrawn(stones, "toy")
    rows = [as_row(item) for item in SEGMENTS]
    numbers = withdrawn.numbers(pyarrow.Table.from_pylist(rows))
    found = [withdrawn.of(row) for row in rows]
    assert [stones.index(item) if item else -1 for item in found] == numbers.tolist()
    assert set(numbers.tolist()) == {-1, 0, 2}


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_published_corpus_hides_what_was_taken_down_after_it_was_sent(
    tmp_path: Path, server: Server, kind: str
) -> None:
    root = corpus_of(tmp_path / "toy", SEGMENTS)
    target = Folder(tmp_path / "published") if kind == "folder" else server.bucket("corpora/taken_down")
    publish(root, target)
    made = tombstone_for(root, field="speaker", values=["s1"], why="asked to", who="me")
    stones = [made, *(replace(made, values=(name,)) for name in ("s0", "nobody"))]
    threads = [threading.Thread(target=publish_tombstone, args=(target, stone)) for stone in [*stones, *stones]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = published_tombstones(target)
    assert sorted(item.id for item in found) == sorted({stone.id for stone in stones})
    assert {row["given_speaker"] for row in open_corpus(target).rows} == {"s2"}
    assert len(open_corpus(target, whole=True)) == 12


def test_what_was_taken_down_is_in_no_answer(tmp_path: Path) -> None:
    root = corpus_of(tmp_path / "toy", SEGMENTS)
    taken(root, "speaker", "s1")
    condition = read_condition("mos_overall >= 1", known=["mos_overall"], where="--what-if")
    assert what_if(root, kept=condition)["segments"] == {"scored": 8, "kept": 8}


@pytest.mark.parametrize("line", ["{", "[]", '{"field": "key"}', '{"field": "voice", "values": ["x"], "spans": []}'])
def test_list_that_cannot_be_read_stops_readers_with_a_sentence(tmp_path: Path, line: str) -> None:
    root = corpus_of(tmp_path / "toy", SEGMENTS)
    taken(root, "speaker", "s1")
    with (root / FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CorpusError, match=r"tombstones\.jsonl: line 2 is no tombstone"):
        open_corpus(root)


def test_takedown_and_readers_go_over_ledger_and_index_and_hold_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = in_store(tmp_path, "toy")
    plain = in_store(tmp_path / "other", "toy")
    assert taken(plain, "recording", "r2.wav") == 10
    monkeypatch.setattr(index, "BATCH", 5)
    monkeypatch.setattr(ledger, "BATCH", 5)
    monkeypatch.setattr(Rows, "columns", lambda *words: pytest.fail("whole columns of the index are read"))
    monkeypatch.setattr(parquet, "read_table", lambda *words, **more: pytest.fail("a whole table is read"))
    assert taken(root, "recording", "r2.wav") == 10
    assert [stone.spans for stone in tombstones_of(root)] == [stone.spans for stone in tombstones_of(plain)]
    assert open_corpus(root).digest == open_corpus(plain).digest
    assert redaction.recordings_taken_down_in(root, redaction.redactor_of(root)) == {"r2.wav"}
    assert redaction.count_unredacted(root) == 2
    with pytest.raises(Refused, match="did you mean 'r4.wav'"):
        tombstone_for(root, field="recording", values=["r4wav"], why="asked to", who="me")
