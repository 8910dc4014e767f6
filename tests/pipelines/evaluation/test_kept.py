"""What evaluations make is kept under what decides it: for another attempt, for another judge, and not in memory."""

import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.manifest import parse
from infra.workflow.node import Refused
from infra.workflow.store import SET_ASIDE
from models.runtime.bundle import load_bundle
from pipelines.evaluation import kept, speech
from pipelines.evaluation.kept import Shelf
from pipelines.evaluation.manifest import EvalManifest
from pipelines.evaluation.metrics import Utterance
from pipelines.shards import open_corpus
from tests.pipelines.evaluation.evaluations import RECONSTRUCTION, SPEECH, evaluate


def test_what_was_spoken_before_a_kill_is_not_spoken_again(
    corpus: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = evaluate(SPEECH, tmp_path / "whole", bundle=bundle, data=corpus)
    speak, asked = speech.spoken, []

    def dies(*args: Any, **settings: Any) -> Utterance:
        asked.append(args[2].key)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return speak(*args, **settings)

    monkeypatch.setattr(speech, "spoken", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(SPEECH, tmp_path / "job", bundle=bundle, data=corpus)
    (tmp_path / "job" / "out").rmdir()
    again, scores = evaluate(SPEECH, tmp_path / "job", bundle=bundle, data=corpus)
    assert again.digest == whole.digest
    assert len(asked) == 3, "the first of two, the second that was killed, and the second again"
    assert asked[1] == asked[2]
    assert scores["timing"]["bundle"]["making_seconds"] > 0
    (spoiled,) = [path for path in (tmp_path / "job" / "work" / kept.FOLDER).glob("*.npz") if path.stat().st_size][:1]
    spoiled.write_bytes(spoiled.read_bytes()[:100])
    shutil.rmtree(tmp_path / "job" / "out")
    once_more, _ = evaluate(SPEECH, tmp_path / "job", bundle=bundle, data=corpus)
    assert once_more.digest == whole.digest
    assert len(asked) == 4, "half a file is spoken again"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of what is spoken, in order."""
    keys, speak = list[str](), speech.spoken

    def noted(*args: Any, **settings: Any) -> Utterance:
        keys.append(args[2].key)
        return speak(*args, **settings)

    monkeypatch.setattr(speech, "spoken", noted)
    return keys


def test_another_judge_hears_what_was_spoken_before_and_another_sampler_speaks_again(
    corpus: Path, bundle: Path, tmp_path: Path, asked: list[str]
) -> None:
    def spoken_in(slot: str, manifest: Mapping[str, Any]) -> int:
        """How much is spoken by an evaluation in this slot of a store."""
        before = len(asked)
        (tmp_path / "speech" / slot).mkdir(parents=True)
        (tmp_path / "speech" / slot / "state.json").write_text("{}")
        evaluate(manifest, tmp_path / "speech" / slot, bundle=bundle, data=corpus)
        return len(asked) - before

    assert spoken_in("a" * 16, {**SPEECH, "metrics": ["stops"]}) == 2
    assert spoken_in("b" * 16, {**SPEECH, "metrics": ["speaker"], "resamples": 200, "players": 0}) == 0
    sounds = [sorted((tmp_path / "speech" / (slot * 16) / "out" / "wavs" / "bundle").glob("*.wav")) for slot in "ab"]
    assert [path.read_bytes() for path in sounds[0]] == [path.read_bytes() for path in sounds[1]]
    sampler = {**SPEECH["speech"]["sampler"], "num_steps": 3}
    assert spoken_in("c" * 16, {**SPEECH, "speech": {**SPEECH["speech"], "sampler": sampler}}) == 2
    for slot in "abc":
        (tmp_path / "speech" / (slot * 16)).rename(tmp_path / "speech" / f"{slot * 16}{SET_ASIDE}1")
    assert spoken_in("d" * 16, {**SPEECH, "metrics": ["stops"]}) == 2, "what was set aside is made again"


def test_sound_of_a_list_is_not_held_in_memory(
    corpus: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waves: list[weakref.ref[Any]] = []
    speak = speech.spoken

    def watched(*args: Any, **settings: Any) -> Utterance:
        found = speak(*args, **settings)
        waves.extend(weakref.ref(wave_S) for wave_S in (found.wave_S, found.against_S) if wave_S is not None)
        return found

    monkeypatch.setattr(speech, "spoken", watched)
    manifest = parse(EvalManifest, {**SPEECH}, where="test")
    shelf = Shelf(tmp_path, {})
    opened = load_bundle(bundle / "bundle")
    made = speech.speech(opened, open_corpus(corpus), manifest, shelf=shelf, say=lambda line: None)
    assert len(waves) == 4
    assert [wave() for wave in waves] == [None] * 4
    assert made["bundle"][0].wave_S is not None
    shutil.rmtree(tmp_path)
    with pytest.raises(Refused, match="is gone or torn; run the same command again"):
        made["bundle"][0]


def test_reconstructions_of_an_earlier_evaluation_are_read(
    corpus: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = evaluate(RECONSTRUCTION, tmp_path, bundle=bundle, data=corpus)
    shutil.rmtree(tmp_path / "out")
    monkeypatch.setattr(kept, "keep", lambda *_: pytest.fail("made again"))
    again, _ = evaluate(RECONSTRUCTION, tmp_path, bundle=bundle, data=corpus)
    assert again.digest == first.digest
