"""Selections: a policy over a finished corpus, as a view that opens like a corpus."""

import errno
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from infra.manifest import parse
from infra.storage import read_json, write_json
from infra.workflow.elsewhere import artifact_at
from infra.workflow.node import Refused
from infra.workflow.store import Store
from pipelines import ledger
from pipelines.packing import index
from pipelines.policy import selection, views
from pipelines.policy.conditions import read_condition
from pipelines.policy.selection import policy_facts, tally, write_selection
from pipelines.policy.takedown import take_down, tombstone_for, touched
from pipelines.shards import CorpusError, open_corpus, read_card
from tests.pipelines.corpora import corpus_of, manifest_of, segment
from training.data.stream import open_sources
from training.manifest import Data

LICENSES = ("CC-BY-4.0", "CC-BY-NC-4.0", "CC0-1.0")
SEGMENTS = [segment(n, mos_overall=n / 4, license=LICENSES[n % 3], given_speaker=f"s{n % 5}") for n in range(20)]
POLICY = manifest_of(
    keep=["has_text"], tiers={"best": [{"name": "mos", "min": 4}], "good": [{"name": "mos", "min": 3}]}
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_of(tmp_path / "toy", SEGMENTS, manifest=manifest_of(keep=[{"name": "mos", "min": 2}]))


def select(corpus: Path, out: Path, **asked: object) -> dict[str, object]:
    found = tally(corpus, **{"policy": POLICY, **asked})  # type: ignore[arg-type]
    return write_selection(out, corpus, found, name="view", policy=policy_facts(POLICY, allow=(), where=None))


def test_view_opens_like_a_corpus_with_the_tiers_of_its_policy(corpus: Path, tmp_path: Path) -> None:
    card = select(corpus, tmp_path / "view")
    for view in (open_corpus(tmp_path / "view"), open_corpus(corpus, selection=tmp_path / "view")):
        assert {row["key"]: row["tier"] for row in view.rows} == {
            item.key: "best" if number >= 16 else "good" for number, item in enumerate(SEGMENTS) if number >= 12
        }
        assert view.digest == card["digest"] != open_corpus(corpus).digest
        assert view.sample(3).key == view.rows[3]["key"]
        assert view.seconds.tolist() == [3600.0] * 8
    assert (card["samples"], card["hours"], card["hours_by_tier"]) == (8, 8.0, {"best": 4.0, "good": 4.0})
    assert artifact_at(tmp_path / "view", Store(tmp_path / "store")).kind == "corpus"
    with pytest.raises(CorpusError, match="is a selection; name its corpus"):
        read_card(tmp_path / "view")


def test_a_view_is_the_same_however_few_rows_are_read_at_a_time(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = select(
        corpus, tmp_path / "whole", where=read_condition("mos_overall>=3.25", known={"mos_overall"}, where="")
    )
    seen = open_corpus(tmp_path / "whole")
    for module in (selection, views, index, ledger):
        monkeypatch.setattr(module, "BATCH", 3)
    parts = select(
        corpus, tmp_path / "parts", where=read_condition("mos_overall>=3.25", known={"mos_overall"}, where="")
    )
    assert {**parts, "corpus": None} == {**whole, "corpus": None}
    again = open_corpus(tmp_path / "parts")
    assert (again.digest, again.licenses, list(again.rows)) == (seen.digest, seen.licenses, list(seen.rows))


def test_same_policy_gives_the_same_digest_and_another_one_another(corpus: Path, tmp_path: Path) -> None:
    one, two = (select(corpus, tmp_path / name) for name in ("one", "two"))
    assert one["digest"] == two["digest"]
    assert select(corpus, tmp_path / "three", policy=manifest_of(keep=["has_text"]))["digest"] != one["digest"]


def test_hours_that_the_corpus_does_not_have_are_told(corpus: Path) -> None:
    found = tally(corpus, policy=manifest_of(keep=[{"name": "mos", "min": 1}]))
    assert (len(found), found.beyond, found.lost) == (12, 4.0, {})
    strict = tally(corpus, policy=POLICY)
    assert (sum(strict.hours.values()), strict.lost, strict.beyond) == (8.0, {"mos": 4.0}, 0.0)


def test_only_allowed_licenses_are_in_the_view(corpus: Path, tmp_path: Path) -> None:
    card = select(corpus, tmp_path / "view", allow=("commercial",))
    assert open_corpus(tmp_path / "view").licenses == ("CC-BY-4.0", "CC0-1.0")
    assert (card["licenses"], card["terms"]) == (["CC-BY-4.0", "CC0-1.0"], ["by"])
    found = tally(corpus, policy=None, allow=("commercial",))
    assert found.lost == {"license": 4.0}
    assert found.licenses_before["CC-BY-NC-4.0"] == 4.0
    assert "CC-BY-NC-4.0" not in found.licenses


def test_condition_without_a_policy_keeps_the_tiers_of_the_corpus(corpus: Path) -> None:
    where = read_condition("mos_overall >= 4", known=["mos_overall"], where="--where")
    found = tally(corpus, policy=None, where=where)
    assert (found.hours, found.lost) == ({"all": 4.0}, {"where": 8.0})


def test_what_is_taken_down_leaves_the_view_too_and_does_not_enter_a_new_one(corpus: Path, tmp_path: Path) -> None:
    select(corpus, tmp_path / "view")
    made = tombstone_for(corpus, field="speaker", values=["s1"], why="asked to", who="me")
    take_down(corpus, made, touched(corpus, made))
    view = open_corpus(tmp_path / "view")
    assert {row["given_speaker"] for row in view.rows} == {"s0", "s2", "s3", "s4"}
    assert select(corpus, tmp_path / "next")["samples"] == len(view) == 7


def test_what_does_not_fit_is_a_sentence(corpus: Path, tmp_path: Path) -> None:
    select(corpus, tmp_path / "view")
    other = corpus_of(tmp_path / "other", SEGMENTS[:9])
    with pytest.raises(CorpusError, match=r"selects from toy@\w+, not from toy@\w+; make it again"):
        open_corpus(other, selection=tmp_path / "view")
    with pytest.raises(Refused, match="nothing of .* is left, most often because of mos"):
        select(corpus, tmp_path / "none", policy=manifest_of(keep=[{"name": "mos", "min": 5}]))
    with pytest.raises(Refused, match="is not empty, and not a selection"):
        select(corpus, corpus)
    card = read_json(tmp_path / "view" / "selection.json") or {}
    write_json(tmp_path / "view" / "selection.json", {**card, "digest": "0" * 32})
    with pytest.raises(CorpusError, match="is not what selection.json says"):
        open_corpus(tmp_path / "view")
    select(corpus, tmp_path / "view")
    shutil.move(corpus, tmp_path / "moved")
    with pytest.raises(CorpusError, match="selects from toy, which is not at"):
        open_corpus(tmp_path / "view")


def test_training_takes_a_view_for_a_corpus(corpus: Path, tmp_path: Path) -> None:
    select(corpus, tmp_path / "view")
    data = parse(Data, {"seconds_per_step": 10, "held_out": 0, "mixture": [{"tiers": ["best"]}]}, where="data")
    (source,) = open_sources(data, folders={"data": tmp_path / "view"}, needs_text=False)
    read = {source.read(int(number)).key for number in source.numbers}
    assert read == {item.key for item in SEGMENTS[16:]}


def test_a_view_that_a_full_disk_cuts_off_leaves_the_one_before_and_can_be_made_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = select(corpus, tmp_path / "old")
    other = manifest_of(keep=["has_text"])
    wanted = select(corpus, tmp_path / "whole", policy=other)
    for out in ("new", "old"):
        for number in (1, 2):
            calls = count(1)

            def refuse(handle: int, calls: Iterator[int] = calls, number: int = number) -> None:
                if next(calls) == number:
                    raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr("os.fsync", refuse)
                with pytest.raises(OSError, match="No space left"):
                    select(corpus, tmp_path / out, policy=other)
            if out == "old":
                assert open_corpus(tmp_path / "old").digest == before["digest"]
        assert select(corpus, tmp_path / out, policy=other) == wanted
