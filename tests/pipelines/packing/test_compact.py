"""Compact: a corpus of its own, without the bytes and the words of what was taken down."""

import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from infra.cli import main
from infra.workflow.node import Refused
from pipelines.ledger import read_ledger
from pipelines.packing.compact import compact
from pipelines.packing.cutting import plan
from pipelines.packing.finish import finish
from pipelines.packing.members import flac_of, npy_of
from pipelines.packing.verify import verify
from pipelines.packing.writer import write_shard
from pipelines.policy.conditions import read_condition
from pipelines.policy.selection import policy_facts, tally, write_selection
from pipelines.policy.takedown import take_down, tombstone_for, touched
from pipelines.row import as_row
from pipelines.shards import open_corpus
from tests.pipelines.corpora import corpus_of, segment
from tests.pipelines.packable import Item

SEGMENTS = [
    segment(n, given_speaker=f"s{n % 3}", recording=f"of_s{n % 3}_{n}.wav", text=f"secret {n}", license="CC-BY-4.0",
            mos_overall=n / 2)
    for n in range(9)
]  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = corpus_of(tmp_path / "toy", SEGMENTS)
    made = tombstone_for(root, field="speaker", values=["s1"], why="asked to", who="me")
    take_down(root, made, touched(root, made))
    return root


def test_version_has_what_readers_see_byte_for_byte_and_nothing_of_the_rest(corpus: Path, tmp_path: Path) -> None:
    card = compact(corpus, tmp_path / "new", soft_bytes=20_000)
    old, new = open_corpus(corpus), open_corpus(tmp_path / "new")
    assert verify(tmp_path / "new") == []
    assert (card["samples"], card["licenses"], card["terms"]) == (6, ["CC-BY-4.0"], ["by"])
    assert new.digest != open_corpus(corpus, whole=True).digest
    assert [new.members(n)[1]["flac"] for n in range(6)] == [old.members(n)[1]["flac"] for n in range(6)]
    assert [new.sample(n).record for n in range(6)] == [old.sample(n).record for n in range(6)]
    files = b"".join(file.read_bytes() for file in (tmp_path / "new").rglob("*") if file.is_file())
    told = json.dumps(read_ledger(tmp_path / "new"))
    for number in (1, 4, 7):
        for word in (f"secret {number}", f"of_s1_{number}"):
            assert word.encode() not in files
            assert word not in told
    assert compact(corpus, tmp_path / "again", soft_bytes=20_000)["digest"] == card["digest"]


def test_ledger_and_funnel_tell_what_was_taken_down(corpus: Path, tmp_path: Path) -> None:
    compact(corpus, tmp_path / "new", soft_bytes=20_000)
    rows = read_ledger(tmp_path / "new")
    assert [row["status"] for row in rows].count("kept") == 6
    gone = [row for row in rows if row["status"] == "dropped"]
    assert {row["key"] for row in gone} == {SEGMENTS[number].key for number in (1, 4, 7)}
    assert {(row["reasons"][0], row["text"], row["given_speaker"]) for row in gone} == {("takedown", None, None)}
    funnel = json.loads((tmp_path / "new" / "funnel.json").read_text())
    assert funnel["hours"] == {"in": 9.0, "kept": 6.0, "dropped": 3.0, "failed": 0.0}
    assert funnel["by_reason"]["takedown"]["first"] == 3.0


def test_selection_becomes_a_corpus(corpus: Path, tmp_path: Path) -> None:
    where = read_condition("mos_overall >= 2", known=["mos_overall"], where="--where")
    found = tally(corpus, policy=None, where=where)
    write_selection(tmp_path / "view", corpus, found, name="view", policy=policy_facts(None, allow=(), where=where))
    compact(tmp_path / "view", tmp_path / "new", soft_bytes=20_000)
    assert [row["key"] for row in open_corpus(tmp_path / "new").rows] == [
        row["key"] for row in open_corpus(tmp_path / "view").rows
    ]
    reasons = json.loads((tmp_path / "new" / "funnel.json").read_text())["by_reason"]
    assert (reasons["selection"]["first"], reasons["takedown"]["first"]) == (3.0, 3.0)


def test_command_says_where_the_bytes_still_are(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_selection(tmp_path / "view", corpus, tally(corpus, policy=None), name="view", policy={})
    assert main(["corpus", "compact", str(tmp_path / "view"), "--out", str(tmp_path / "of_view")]) == 0
    assert f"still in {corpus}:" in capsys.readouterr().out, "the sounds of a view lie in its corpus"
    words = ["corpus", "compact", str(corpus), "--out", str(tmp_path / "new")]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "6 samples in 1 shard, from toy@" in told
    assert f"still in {corpus}" in told
    assert main(words) == 1
    assert "is not empty; give a new folder" in capsys.readouterr().err
    made = [tombstone_for(corpus, field="speaker", values=[name], why="x", who="me") for name in ("s0", "s2")]
    for stone in made:
        take_down(corpus, stone, touched(corpus, stone))
    with pytest.raises(Refused, match="nothing is left of it"):
        compact(corpus, tmp_path / "none", soft_bytes=1)


def test_command_speaks_of_no_takedown_where_there_was_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = corpus_of(tmp_path / "toy", SEGMENTS)
    assert main(["corpus", "compact", str(root), "--out", str(tmp_path / "new")]) == 0
    told = capsys.readouterr().out
    assert "9 samples in 1 shard, from toy@" in told
    assert "taken down" not in told


def test_ledger_with_columns_of_another_time_becomes_one_of_today(corpus: Path, tmp_path: Path) -> None:
    """As many columns as today, and not the same ones."""
    before = parquet.read_table(corpus / "ledger.parquet")
    names = ["of_old" if name == "utmos" else name for name in before.column_names]
    parquet.write_table(before.rename_columns(names), corpus / "ledger.parquet")
    compact(corpus, tmp_path / "new", soft_bytes=1 << 20)
    assert parquet.read_schema(tmp_path / "new" / "ledger.parquet").names == before.column_names
    assert [row["key"] for row in read_ledger(tmp_path / "new")] == before["key"].to_pylist()


def test_arrays_beside_the_sound_go_along(tmp_path: Path) -> None:
    latents = npy_of(np.arange(24, dtype=np.float32).reshape(2, 4, 3))
    spool, made = tmp_path / "spool", []
    for number in range(3):
        flac = flac_of(np.zeros(800, np.float32), rate_hz=16000)
        file = tmp_path / f"{number}.spool"
        file.write_bytes(flac + latents)
        row = as_row(segment(number, xvector=(0.5, 0.25)))
        made.append(Item(row, "all", file, 0, len(flac), {"latent": (len(flac), len(latents))} if number else {}))
    members = ("latent", "spk")
    parts = [write_shard(spool, n, part, members=members) for n, part in enumerate(plan(made, soft_bytes=1 << 20))]
    finish(spool, name="toy", shards=parts, facts={})
    compact(spool, tmp_path / "new", soft_bytes=1 << 20)
    old, new = open_corpus(spool), open_corpus(tmp_path / "new")
    assert [new.members(n) for n in range(3)] == [old.members(n) for n in range(3)]
    assert all("spk.npy" in new.members(n)[1] for n in range(3))
    assert sum("latent.npy" in new.members(n)[1] for n in range(3)) == 2
    assert verify(tmp_path / "new") == []
