"""Dedup over corpora: each sound once, the better copy stays, and nothing of an evaluation set."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from infra.cli import main
from models.frozen.espeak import Espeak, Utterance
from pipelines.copies.clip_sets import clips_at
from pipelines.copies.dedup import copies, write_tombstones
from pipelines.policy.tombstones import FILE, read_tombstones
from pipelines.policy.withheld import withholding
from pipelines.row import Segment, Wave
from pipelines.shards import open_corpus
from tests.pipelines.corpora import corpus_of, segment

LINES = (
    "The morning train was late again, and nobody knew why.", "Nobody had told her about the letter on the table.",
    "We walked home along the river while the sun went down.", "Seven boats lay in the harbor, waiting for the tide.",
)  # fmt: skip


@pytest.fixture(scope="module")
def speech() -> list[Wave]:
    """At 16 kHz, a little over three seconds each."""
    voices = Espeak()([Utterance(text=text, voice="en") for text in LINES])
    return [soxr.resample(wave_S, Espeak.RATE_HZ, 16000).astype(np.float32)[: 16000 * 3] for wave_S in voices]


def corpus(root: Path, waves: list[Wave], *, first: int, **facts: object) -> Path:
    made: list[Segment] = [
        segment(first + n, samples=len(wave_S), seconds=len(wave_S) / 16000, **facts) for n, wave_S in enumerate(waves)
    ]
    return corpus_of(root, made, waves={item.key: wave_S for item, wave_S in zip(made, waves, strict=True)})


def quiet(line: str) -> None:
    """Nobody watches."""


def test_copies_go_and_the_corpus_that_is_named_first_keeps_its_own(tmp_path: Path, speech: list[Wave]) -> None:
    noisy = speech[1] + np.random.default_rng(0).normal(0, 0.003, len(speech[1])).astype(np.float32)
    one = corpus(tmp_path / "one", speech[:2], first=0)
    two = corpus(tmp_path / "two", [speech[0], noisy[2000:], speech[2]], first=10)
    sets = [clips_at(root, say=quiet) for root in (one, two)]
    found = copies(sets)
    assert [(copy.of_set, copy.kept_set, copy.exact, copy.reason) for copy in found] == [
        (1, 0, True, "near_duplicate"), (1, 0, False, "near_duplicate"),
    ]  # fmt: skip
    assert found[1].seconds == pytest.approx(len(noisy) / 16000 - 0.125, abs=0.1)
    assert [copy.of_set for copy in copies(sets[::-1])] == [1, 1], "the first one is preferred"


def test_inside_of_a_corpus_the_copy_with_more_band_stays(tmp_path: Path, speech: list[Wave]) -> None:
    dull = soxr.resample(soxr.resample(speech[0], 16000, 8000), 8000, 16000).astype(np.float32)
    made = [
        segment(n, samples=len(wave_S), seconds=len(wave_S) / 16000, bandwidth_hz=band)
        for n, (wave_S, band) in enumerate([(dull, 4000.0), (speech[0], 7500.0), (speech[2], 7500.0)])
    ]
    waves = {item.key: wave_S for item, wave_S in zip(made, [dull, speech[0], speech[2]], strict=True)}
    (copy,) = copies([clips_at(corpus_of(tmp_path / "toy", made, waves=waves), say=quiet)])
    assert (copy.clip.name, copy.kept.name) == (made[0].key, made[1].key)


def test_many_copies_of_one_sound_leave_one(tmp_path: Path, speech: list[Wave]) -> None:
    rng = np.random.default_rng(1)
    alike = [speech[0] + rng.normal(0, 0.002, len(speech[0])).astype(np.float32) for _ in range(45)]
    found = copies([clips_at(corpus(tmp_path / "toy", alike, first=0), say=quiet)])
    assert len(found) == 44


def test_nothing_of_an_evaluation_set_stays(tmp_path: Path, speech: list[Wave]) -> None:
    folder = tmp_path / "eval"
    folder.mkdir()
    longer = np.concatenate([speech[3], speech[1], speech[2]])
    soundfile.write(folder / "prompt.wav", longer, 16000)
    (folder / "broken.wav").write_bytes(b"no")
    root = corpus(tmp_path / "toy", speech[:2], first=0)
    lines: list[str] = []
    evaluation = [clips_at(folder, say=lines.append)]
    assert any("broken.wav: left out" in line for line in lines)
    sets = [clips_at(root, say=quiet)]
    (copy,) = copies(sets, evaluation)
    assert (copy.reason, copy.kept_set, copy.kept.name) == ("evaluation_overlap", -1, "prompt.wav")
    assert write_tombstones([copy], sets, evaluation, who="me") == 1
    assert [row["key"] for row in open_corpus(root).rows] == [sets[0].clips[0].name] or len(open_corpus(root)) == 1
    assert copies([clips_at(root, say=quiet)], evaluation) == []
    (stone,) = read_tombstones(root / FILE)
    assert (stone.reason, stone.corpus, stone.values) == ("evaluation_overlap", "toy", (copy.clip.name,))


def test_copy_is_hidden_in_its_corpus_alone(tmp_path: Path, speech: list[Wave]) -> None:
    from infra.storage import write_json

    roots = []
    for name in ("one", "two"):
        roots.append(corpus(tmp_path / name / "0123" / "out", speech[:2], first=0))
        write_json(roots[-1].parent / "state.json", {})
    sets = [clips_at(root, say=quiet) for root in roots]
    found = copies(sets)
    assert [copy.of_set for copy in found] == [1, 1]
    assert withholding(corpus="another", store=tmp_path)({"key": found[0].clip.name, "license": "x"}) is None


def test_command_tells_then_applies(tmp_path: Path, speech: list[Wave], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["corpus", "dedup", str(corpus(tmp_path / "toy", [*speech[:2], speech[0]], first=0))]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "near_duplicate: 1 clips, 3.0 s; 1 exact" in told.out
    assert "decoding 3 clips without a print" in told.err
    assert main([*words, "--json"]) == 1
    assert '"exact": true' in capsys.readouterr().out
    assert main([*words, "--apply"]) == 0
    capsys.readouterr()
    assert main(words) == 0
    assert "no copies" in capsys.readouterr().out
    assert main([*words, "--min-share", "0"]) == 2


def test_two_versions_of_one_corpus_are_compared_but_nothing_of_them_is_hidden(
    tmp_path: Path, speech: list[Wave], capsys: pytest.CaptureFixture[str]
) -> None:
    roots = [str(corpus(tmp_path / name, speech[:2], first=0)) for name in ("one", "two")]
    for words in (roots, [roots[0], roots[0]], [roots[0], "--against", roots[0]], [roots[0], "--against", roots[1]]):
        assert main(["corpus", "dedup", *words, "--apply"]) == 1
        assert "toy is given twice: what is hidden in one version" in capsys.readouterr().err
    assert [len(open_corpus(root)) for root in roots] == [2, 2]
    assert main(["corpus", "dedup", *roots]) == 1
    assert "near_duplicate: 2 clips" in capsys.readouterr().out


def test_copies_in_a_view_are_hidden_from_readers_of_the_view(
    tmp_path: Path, speech: list[Wave], capsys: pytest.CaptureFixture[str]
) -> None:
    root = corpus(tmp_path / "toy", speech[:3], first=0)
    view, folder = tmp_path / "view", tmp_path / "eval"
    assert main(["corpus", "select", str(root), "--where", "seconds>=1", "--out", str(view)]) == 0
    folder.mkdir()
    soundfile.write(folder / "prompt.wav", speech[1], 16000)
    words = ["corpus", "dedup", str(view), "--against", str(folder)]
    assert main(words) == 1
    assert main([*words, "--apply"]) == 0
    assert (len(open_corpus(view)), len(open_corpus(root))) == (2, 2)
    capsys.readouterr()
    assert main(words) == 0
    assert "no copies" in capsys.readouterr().out
