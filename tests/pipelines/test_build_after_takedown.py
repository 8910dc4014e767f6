"""A corpus that is built after a takedown: nothing in it plays, spells or names what was taken down."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from infra.cli import main
from infra.journal import About, JournalRun, new_id
from infra.locks import owned
from infra.manifest import parse
from infra.objects import Folder
from infra.storage import write_json
from infra.workflow.node import Job, Made
from models.frozen.espeak import Espeak, Utterance
from pipelines import build
from pipelines.audit import write_audit
from pipelines.catalog import write_catalog
from pipelines.chain import Chain
from pipelines.ledger import Fate, load, read_ledger
from pipelines.manifest import CorpusManifest
from pipelines.packing.compact import compact
from pipelines.packing.publish import publish
from pipelines.policy.takedown import take_down, tombstone_for, touched
from pipelines.readers import folder
from pipelines.shards import CorpusError, open_corpus

pytestmark = pytest.mark.system

TOY: dict[str, Any] = {
    "name": "toy",
    "language": "en",
    "license": "CC0",
    "transforms": ["probe", "segment", "language", {"name": "transcribe", "routes": {}}, "loudness"],
    "keep": ["duration", "has_text"],
    "errors": {"max_failed_share": 0.9},
}
SENTENCES = ("The morning train was late again.", "Nobody had told her about the letter.", "Close the window now.")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of Jane: one that is kept, one without a text, silence, and a broken one; of Bob two that are kept."""
    root = tmp_path_factory.mktemp("sounds")
    voices = Espeak()([Utterance(text=text, voice="en") for text in SENTENCES])
    for name, wave_S, text in [
        ("jane/kept.wav", voices[0], SENTENCES[0]), ("jane/untold.wav", voices[1], None),
        ("bob/one.wav", voices[2], SENTENCES[2]), ("bob/two.wav", voices[1][::-1], "two"),
        ("jane/silence.wav", np.zeros(16000), None),
    ]:  # fmt: skip
        (root / name).parent.mkdir(exist_ok=True)
        soundfile.write(root / name, wave_S, Espeak.RATE_HZ)
        if text:
            (root / name).with_suffix(".txt").write_text(text)
    (root / "jane" / "broken.wav").write_bytes(b"no sound")
    return root


class Bench:
    """A store to build in, unit by unit in this process."""

    def __init__(self, store: Path, recordings: Path) -> None:
        self.store, self.recordings = store, recordings

    def build(self, name: str, version: str, *, speakers: bool = True, only: str = "", **facts: Any) -> Path:
        """The corpus; without `speakers`, nobody has told who speaks. `only`: how the names of recordings begin."""
        slot, catalog = self.store / name / version, self.store / f"catalog_{version}"
        (slot / "out").mkdir(parents=True)
        write_json(slot / "state.json", {"status": "committed"})
        catalog.mkdir()
        found = [item for item in folder.recordings(folder.Config(), self.recordings) if item.name.startswith(only)]
        if speakers:
            found = [
                replace(item, speaker=who, source=f"https://x.org/{who}")
                for item in found
                for who in [item.name.split("/")[0]]
            ]
        write_catalog(catalog, found)
        reader = {"name": "jsonl", "roots": [str(self.recordings)]}
        manifest = parse(CorpusManifest, {**TOY, "name": name, "reader": reader, **facts}, where=name)
        made = Made("recordings", "recordings", catalog, "0" * 32, "0" * 32, "0" * 32)
        chain = Chain(manifest)
        for unit in build.units_of(manifest, made, work=slot / "work"):
            chain.run_unit(unit, slot / "work")
        run = JournalRun(slot / "journal", About(new_id(), name, "test", "corpus"))
        job = Job(
            name=name,
            manifest=manifest,
            inputs={"recordings": made},
            out=slot / "out",
            work=slot / "work",
            run=run,
            connect=lambda: pytest.fail("every unit is final: nothing has to start"),
            attempt=1,
            say=lambda _: None,
        )
        build.run(job)
        run.close()
        return slot / "out"


@pytest.fixture
def bench(tmp_path: Path, recordings: Path) -> Bench:
    return Bench(tmp_path / "store", recordings)


def take(root: Path, speaker: str) -> None:
    """Take a speaker down."""
    made = tombstone_for(root, field="speaker", values=[speaker], why="asked to", who="me")
    take_down(root, made, touched(root, made))


def test_nothing_of_her_is_in_what_is_built_afterwards(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = bench.build("toy", "a")
    keys = {row["key"] for row in read_ledger(old) if row["key"] and row["given_speaker"] == "jane"}
    assert len(keys) == 2
    assert any(key in (old / "audit.html").read_text() for key in keys)
    take(old, "jane")
    new = bench.build("toy", "b", keep=["has_text"])
    rows = read_ledger(new)
    told = json.dumps(rows)
    for word in ("jane", "morning train", "told her"):
        assert word not in told
        assert not [file for file in new.rglob("*") if file.is_file() and word.encode() in file.read_bytes()]
    assert not any(key in (new / "audit.html").read_text() for key in keys)
    taken = [row for row in rows if row["key"] in keys]
    assert {(row["status"], row["reasons"][0], row["source"]) for row in taken} == {
        ("dropped", "takedown", "(taken down)")
    }
    assert all(row["recording_sha256"] and row["seconds"] and row["pcm_sha256"] is None for row in taken)
    assert {row["recording"] for row in rows if row["key"] not in keys} == {
        "bob/one.wav",
        "bob/two.wav",
        "(taken down)",
    }
    assert len(open_corpus(new)) == 2
    publish(new, Folder(tmp_path / "published"))
    assert "jane" not in json.dumps(json.loads((new / "funnel.json").read_text())["by_source"])

    capsys.readouterr()
    assert main(["corpus", "peek", str(old), "--dropped"]) == 0
    assert "jane" not in (shown := capsys.readouterr().out)
    assert "takedown" in shown
    page = write_audit(old, sound_of=lambda _: None, to=tmp_path / "page.html").read_text()
    assert "jane/" not in page.replace(str(bench.recordings), "")

    with pytest.raises(CorpusError, match="are taken down, and would be published"):
        publish(old, Folder(tmp_path / "refused"))
    compact(old, tmp_path / "compacted", soft_bytes=1 << 20)
    told = json.dumps(read_ledger(tmp_path / "compacted")) + (tmp_path / "compacted" / "funnel.json").read_text()
    assert "jane" not in told.replace(str(bench.recordings), "")
    publish(tmp_path / "compacted", Folder(tmp_path / "clean"))


def test_what_comes_later_under_her_name_is_in_no_corpus_of_the_store(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    take(bench.build("corpa", "a", only="jane/kept"), "jane")
    again = bench.build("corpa", "b", keep=["has_text"])
    other = bench.build("corpb", "c", speakers=False, keep=["duration"])
    assert {row["recording"] for row in open_corpus(other).rows} == {"bob/one.wav", "bob/two.wav"}
    words = ["corpus", "takedown", str(again), "--speaker", "jane", "--reason", "asked to"]
    assert main(words) == 0, "nothing names her any more, and that is no mistake"
    assert "written down before" in capsys.readouterr().out


def stored(work: Path) -> dict[str, tuple[Fate, bytes]]:
    """Key -> its fate in a work folder, and the bytes of its sound."""
    found = {}
    for path in (work / "units").glob("*.jsonl"):
        for fate in load(path).fates:
            if fate.segment is not None:
                place = fate.sounds[-1]
                data = path.with_suffix(".flac").read_bytes()[place.offset : place.offset + place.flac_bytes]
                found[fate.segment["key"]] = fate, data
    return found


def test_work_folders_keep_neither_her_sound_nor_her_words_and_all_else_as_it_was(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = bench.build("toy", "a")
    work = old.parent / "work"
    hers = {row["key"] for row in read_ledger(old) if row["key"] and row["given_speaker"] == "jane"}
    before = stored(work)
    shared = tmp_path / "another" / "units"
    shutil.copytree(work / "units", shared, copy_function=os.link)
    words = ["corpus", "takedown", str(old), "--speaker", "jane", "--reason", "asked to"]
    with owned(old.parent / ".lock"):
        assert main(words) == 0
    assert f"{work}: in use; say this again" in capsys.readouterr().out
    assert stored(work) == before
    assert main(words) == 0
    assert "2 segments erased in work folders" in capsys.readouterr().out
    after = stored(work)
    for key, (fate, data) in before.items():
        if key not in hers:
            assert after[key] == (fate, data)
            continue
        erased, left = after[key]
        assert (erased.status, erased.reason, erased.seconds) == ("dropped", "takedown", fate.seconds)
        assert set(left) == {0}
        assert len(left) == len(data)
    told = b"".join(path.read_bytes() for path in (work / "units").glob("*.jsonl"))
    assert b"morning train" not in told
    assert stored(shared.parent) == before, "a folder outside of the store, which shares its files, is left alone"
    assert main(words) == 0
    assert "erased" not in capsys.readouterr().out


def test_a_later_chain_takes_over_from_an_erased_unit_without_her_and_a_later_build_erases_what_it_heard_anew(
    bench: Bench, tmp_path: Path
) -> None:
    old = bench.build("toy", "a")
    hers = {row["key"] for row in read_ledger(old) if row["key"] and row["given_speaker"] == "jane"}
    assert main(["corpus", "takedown", str(old), "--speaker", "jane", "--reason", "asked to"]) == 0
    longer = parse(CorpusManifest, {**TOY, "transforms": [*TOY["transforms"], "bandwidth"]}, where="longer")
    made = Made("recordings", "recordings", bench.store / "catalog_a", "0" * 32, "0" * 32, "0" * 32)
    chain = Chain(longer)
    (earlier,) = (old.parent / "work" / "units").glob("*.jsonl")
    for unit in build.units_of(longer, made, work=tmp_path / "work"):
        chain.run_unit(unit, tmp_path / "work", earlier=earlier)
    fates = {key: fate for key, (fate, _) in stored(tmp_path / "work").items()}
    assert {key for key, fate in fates.items() if fate.status == "dropped"} == hers
    assert all(fate.segment and fate.segment["bandwidth_hz"] for key, fate in fates.items() if key not in hers)
    assert {set(data) == {0} for key, (_, data) in stored(tmp_path / "work").items() if key in hers} == {True}

    new = bench.build("toy", "b", keep=["has_text"])
    assert {set(data) == {0} for key, (_, data) in stored(new.parent / "work").items() if key in hers} == {True}
    rows = {row["key"]: row for row in read_ledger(new)}
    assert {rows[key]["reasons"][0] for key in hers} == {"takedown"}
    assert len(open_corpus(new)) == 2
