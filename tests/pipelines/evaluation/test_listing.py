"""Lists of Seed-TTS-Eval: what is wrong with them is told at once; a prompt that is no sound is counted."""

from pathlib import Path

import numpy as np
import pytest

from infra.workflow.node import Refused
from pipelines.evaluation.listing import content, listed
from pipelines.evaluation.manifest import Speech
from tests.pipelines.bad_sound import wav

NOISE = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)


def speech(folder: Path, lines: str | bytes, **settings: str) -> Speech:
    (folder / "p.wav").write_bytes(wav(NOISE))
    (folder / "meta.lst").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    return Speech.model_validate({"list_file": str(folder / "meta.lst"), "list_language": "en", **settings})


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", "the list of utterances is empty"),
        ("u1|t|p.wav|a\nu1|t|p.wav|b\n", "line 2: 'u1' is line 1 too"),
        ("../../u1|t|p.wav|a\n", "line 1: '../../u1' cannot name a wav"),
        ("u" * 300 + "|t|p.wav|a\n", "cannot name a wav"),
        ("u1|t|p.wav|\n\nu2|t\n", "line 1: there is no text to speak; line 3: should be utt"),
        ("u1||p.wav|a\n", "line 1: the text of the prompt is missing"),
        ("u1|\u4f60|p.wav|a\n".encode("gbk"), "is not UTF-8"),
    ],
)
def test_list_that_is_wrong_is_a_sentence_with_its_lines(tmp_path: Path, lines: str | bytes, told: str) -> None:
    with pytest.raises(Refused, match=told):
        list(listed(speech(tmp_path, lines)))


def test_byte_order_mark_and_ends_of_lines_of_other_systems_are_not_part_of_an_utterance(tmp_path: Path) -> None:
    found = list(listed(speech(tmp_path, "\ufeffu1|t|p.wav|a\u2028b\r\nu2|t|p.wav|c\r\n")))
    assert [(key, line.text) for key, line, _ in found] == [("u1", "a\u2028b"), ("u2", "c")]


def test_prompts_that_are_no_sound_are_problems_of_their_utterances_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF and no more")
    (tmp_path / "nan.wav").write_bytes(wav([*NOISE, np.nan]))
    long = "a text where the name should be " * 20
    lines = f"u1|t|p.wav|a\nu2|t|bad.wav|a\nu3|t|nan.wav|a\nu4|t|gone.wav|a\nu5|t|{long}|a\n"
    whole, bad, spoiled, gone, swapped = [read() for _, _, read in listed(speech(tmp_path, lines)) if read]
    assert whole.problem is None
    assert whole.wave_S is not None
    assert "its prompt cannot be used: the file cannot be read as sound" in str(bad.problem)
    assert "samples that are not numbers" in str(spoiled.problem)
    assert gone.problem == swapped.problem == "its prompt is missing"
    assert bad.wave_S is spoiled.wave_S is None


def test_list_without_prompts_gives_none(tmp_path: Path) -> None:
    assert [prompt for _, _, prompt in listed(speech(tmp_path, "u1||gone.wav|a\n", mode="no_prompt"))] == [None]


def test_content_of_a_list_is_that_of_its_prompts_too(tmp_path: Path) -> None:
    speech(tmp_path, "u1|t|p.wav|a\nu2|t|q.wav|a\nonly one\n")
    before = content(tmp_path / "meta.lst")
    (tmp_path / "q.wav").write_bytes(wav(NOISE))
    assert content(tmp_path / "meta.lst") != before, "a prompt that was missing has come"
    assert content(tmp_path / "gone.lst") == "absent"
