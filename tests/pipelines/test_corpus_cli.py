"""`stipple corpus`: what a person types, and what it says."""

import json
import re
from pathlib import Path

import pytest

from infra.cli import main
from pipelines import funnel
from pipelines.ledger import Fate, RecordingFact, UnitResult, final_units, save, sound_path
from pipelines.sealing import SoundFile
from tests.pipelines.corpora import corpus_of, manifest_of, segment
from tests.pipelines.packable import build, items


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    build(tmp_path / "toy", items(tmp_path, 3))
    return tmp_path / "toy"


def test_verify_says_what_is_as_written_and_what_is_not(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "verify", str(corpus)]) == 0
    assert "3 samples in 1 shard, as written" in capsys.readouterr().out
    shard = corpus / "shards" / "pack-0000" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert main(["corpus", "verify", str(corpus)]) == 1
    assert "shard-000000.tar: its sha256 is" in capsys.readouterr().out


def test_peek_prints_a_line_a_sample(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "peek", str(corpus), "--count", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "all: na\u00efve words" in lines[0]


def test_plan_says_what_would_be_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import soundfile

    monkeypatch.setattr("infra.workflow.single.STORE", tmp_path / "store")  # whoever runs this may have built tiny
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(160000), 16000)
    (tmp_path / "broken.mp3").write_bytes(b"no")
    (tmp_path / "0.txt").write_bytes(b"caf\xe9")
    assert main(["corpus", "plan", "manifests/corpora/tiny.yaml", "--recordings", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "recordings   4, 1.0 MB, 30.0 s" in told
    assert "amiss        1 transcript that cannot be read (0.wav: the transcript is not UTF-8)" in told
    assert re.search(r"^  probe +[0-9a-f]{12}  run on \d units$", told, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["verify", "{}/nothing"], 1, "neither a folder, nor a corpus"),
        (["stats", "{}"], 1, "has no corpus.json"),
        (["plan", "manifests/corpora/quikstart.yaml", "--recordings", "{}"], 2, "did you mean 'quickstart.yaml'"),
        (["plan", "manifests/corpora/tiny.yaml", "--recordings", "{}"], 1, "no sound file in it"),
        (["build", "manifests/corpora/tiny.yaml", "--recordings", "{}/no"], 1, "no such folder of recordings"),
    ],
)
def test_mistake_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    assert main(["corpus", *(word.format(tmp_path) for word in words)]) == code
    assert told in capsys.readouterr().err


def test_folder_that_is_not_there_begins_no_run_that_then_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[object] = []
    monkeypatch.setattr("infra.workflow.single.single", lambda *words, **named: begun.append(words))
    assert main(["corpus", "build", "manifests/corpora/tiny.yaml", "--recordings", str(tmp_path / "no")]) == 1
    assert "no such folder of recordings" in capsys.readouterr().err
    assert begun == []


def test_stats_prints_the_funnel(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hours = {"in": 2.0, "kept": 1.0, "dropped": 1.0, "failed": 0.0}
    reason = {"status": "dropped", "items": 4, "first": 1.0, "any": 1.0, "only": 1.0}
    facts = {
        "recordings": 2, "recordings_failed": 0, "segments": 7, "segments_kept": 3, "hours": hours,
        "by_language": {"en": hours}, "by_source": {}, "by_tier": {"all": 1.0}, "by_reason": {"mos": reason},
        "costs": {"mos": {"wall_seconds": 90.0, "cpu_seconds": 72.0, "audio_seconds": 7200.0}},
    }  # fmt: skip
    (corpus / "funnel.json").write_text(json.dumps(facts))
    assert main(["corpus", "stats", str(corpus)]) == 0
    told = capsys.readouterr().out
    assert "toy@" in told
    assert "mos                            1.0 h   4 items" in told
    assert "100 x" in told


def test_one_is_told_in_the_singular_and_the_dearest_transform_first() -> None:
    hours = {"in": 2.0, "kept": 1.0, "dropped": 1.0, "failed": 0.0}
    reason = {"status": "dropped", "items": 1, "first": 1.0, "any": 1.0, "only": 1.0}
    costs = {name: {"cpu_seconds": seconds} for name, seconds in (("probe", 1.0), ("mos", 9.0), ("text", 2.0))}
    facts = {
        "recordings": 1, "segments": 7, "segments_kept": 3, "hours": hours, "by_language": {"en": hours},
        "by_source": {}, "by_tier": {"all": 1.0}, "by_reason": {"mos": reason}, "costs": costs,
    }  # fmt: skip
    assert "1 recording\n" in funnel.table(facts)
    assert funnel.table(facts).count("1 item\n") + funnel.table(facts).endswith("1 item") == 1
    assert [line.split()[0] for line in funnel.costs_table(facts).splitlines()[1:]] == ["mos", "text", "probe"]


def test_peek_for_a_reason_that_nothing_has_tells_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = manifest_of(keep=[{"name": "mos", "min": 3.5}])
    root = corpus_of(tmp_path / "toy", [segment(1), segment(2, mos_overall=4.0)], manifest=strict)
    assert main(["corpus", "peek", str(root), "--dropped", "mos"]) == 0
    assert "r1.wav" in capsys.readouterr().out
    assert main(["corpus", "peek", str(root), "--dropped", "moss"]) == 1
    assert "nothing was dropped for 'moss'; did you mean 'mos'? the reasons are: mos" in capsys.readouterr().err


def test_what_failed_can_be_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "toy" / "0123" / "work"
    for unit, reason in (("good", None), ("gone", "unreadable: no such file"), ("bad", "decode: damaged")):
        fate = Fate(f"{unit}.wav", 2.0, "failed" if reason else "ready", "probe", reason)
        with SoundFile(sound_path(work, unit=unit, chain="c")) as sound:
            save(work, UnitResult(unit, "c", recordings=[RecordingFact(f"{unit}.wav", 2.0, 0)], fates=[fate]), sound)
    assert main(["corpus", "retry", str(tmp_path / "toy"), "--reason", "unreadable", "--dry-run"]) == 0
    assert final_units(work, chain="c") == {"good", "gone", "bad"}
    assert main(["corpus", "retry", str(tmp_path / "toy"), "--reason", "unreadable"]) == 0
    assert final_units(work, chain="c") == {"good", "bad"}
    assert "1 results of units, 2.0 s in all, with failures: unreadable 1" in capsys.readouterr().out
    assert main(["corpus", "retry", str(tmp_path / "toy"), "--reason", "unreadable"]) == 1


def test_sources_lists_what_licenses_allow_and_tells_all_about_one(capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str) -> str:
        assert main(["corpus", "sources", *words]) == 0
        return capsys.readouterr().out

    every, free = (set(re.findall(r"^\w+", told(*words), re.M)) for words in ((), ("--allow", "commercial")))
    assert {"emilia", "mls", "aishell3"} <= every
    assert {"mls", "aishell3"} <= free < every
    assert "emilia" not in free
    (fact,) = json.loads(told("mls", "--json"))
    assert (fact["license"], fact["allows"][0]) == ("CC-BY-4.0", "commercial")
    page = told("emilia")
    assert "to train on  all but what its reader takes for evaluation sets" in page
    assert "then         stipple recordings manifests/recordings/emilia.yaml --set folder=FOLDER" in page
    assert main(["corpus", "sources", "emila"]) == 2
    assert "no corpus emila; did you mean 'emilia'?" in capsys.readouterr().err
