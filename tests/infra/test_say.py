"""`stipple say`: a whole wav file or none, and a sentence and an exit code for everything else."""

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from infra.cli import build_parser, main
from infra.say import refuse_request
from infra.waiting import SpeechProgress, told_while
from models.runtime import prompt as prompts
from models.runtime.bundle import Bundle, save_bundle
from tests.processes import until
from tests.small import small_bundle


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training stage leaves: a folder with out/bundle."""
    folder = tmp_path_factory.mktemp("slot")
    (folder / "out").mkdir()
    save_bundle(small_bundle(), folder / "out" / "bundle")
    return folder


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    time = np.arange(12000) / 16000
    soundfile.write(tmp_path / "prompt.wav", 0.3 * np.sin(2 * np.pi * 150 * time), 16000)
    return tmp_path / "prompt.wav"


def say(*words: object) -> int:
    return main(["say", *map(str, words)])


def test_wav_is_written_and_a_cut_is_called_a_cut(
    artifact: Path, prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.wav"
    voice = ["--prompt-audio", prompt, "--prompt-text", "hm"]
    assert say("hello", "--from", artifact, *voice, "--out", out, "--max-seconds", 0.5, "--stop-threshold", 1) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(out)
    assert "0.48 s of speech" in told.err
    assert "real-time factor" in told.err
    assert "finish reason: length. CUT at the maximum of 0.5 s" in told.err
    info = soundfile.info(out)
    assert (info.samplerate, info.channels, info.frames) == (48000, 1, 3 * 7680)


def test_stop_is_told_as_a_stop(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say("hello", "--from", artifact, "--out", tmp_path / "x.wav", "--stop-threshold", 0) == 0
    assert "finish reason: stop" in capsys.readouterr().err


def test_streamed_file_equals_the_offline_file_and_the_seed_decides_both(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["hello", "--from", artifact, "--max-seconds", 0.7, "--stop-threshold", 1, "--num-steps", 2]
    for name, extra in (("a", []), ("b", ["--stream"]), ("c", ["--seed", "1"])):
        assert say(*common, "--out", tmp_path / f"{name}.wav", *extra) == 0
    assert "first packet after" in capsys.readouterr().err
    a, b, c = (soundfile.read(tmp_path / f"{name}.wav", dtype="int16")[0].astype(int) for name in "abc")
    assert np.abs(a - b).max() <= 1
    assert np.abs(a - c).max() > 1


def test_json_tells_what_came_of_it(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["hello you all", "--from", artifact, "--out", tmp_path / "x.wav", "--max-seconds", 0.5, "--num-steps", 2]
    assert say(*words, "--stop-threshold", 1, "--stream", "--seed", 3, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seconds"], told["rate_hz"], told["finish_reason"], told["seed"]) == (0.48, 48000, "length", 3)
    assert told["first_packet_ms"] > 0
    assert told["real_time_factor"] == pytest.approx(told["took_seconds"] / told["seconds"])


def test_samples_on_stdout_are_those_of_the_file(
    artifact: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["hello you all", "--from", artifact, "--max-seconds", 0.5, "--num-steps", 2, "--stop-threshold", 1]
    assert say(*words, "--stream", "--out", tmp_path / "x.wav") == 0
    capsysbinary.readouterr()
    assert say(*words, "--stream", "--out", "-") == 0
    told = capsysbinary.readouterr()
    assert b"\nsamples: 48000 Hz, mono, 16 bits, little-endian\n" in told.err
    heard = np.frombuffer(told.out, "<i2").astype(int)
    written = soundfile.read(tmp_path / "x.wav", dtype="int16")[0].astype(int)
    assert np.array_equal(heard, written)


def test_stdin_is_spoken_line_by_line_while_it_is_written(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello,\nyou.\n"))
    words = ["-", "--live", "--from", artifact, "--out", tmp_path / "x.wav", "--max-seconds", 1.6, "--num-steps", 2]
    assert say(*words, "--stop-threshold", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == 1.6
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    assert say(*words) == 1
    assert "stdin is not UTF-8 text" in capsys.readouterr().err
    lenient = io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", lenient)
    assert say("-", "--from", artifact, "--out", tmp_path / "x.wav") == 1
    assert "stdin is not UTF-8 text" in capsys.readouterr().err


class Typed(io.TextIOBase):
    """A person who types lines, and then does something else."""

    def __init__(self, *lines: str, then: BaseException) -> None:
        self.lines, self.then = lines, then

    def isatty(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        yield from self.lines
        raise self.then


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "finish reason: cancelled. CUT after"),
        (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "not a start"), 1, "stdin is not UTF-8 text"),
    ],
)
def test_what_was_spoken_live_is_kept_whatever_ends_it(
    then: BaseException,
    code: int,
    said: str,
    artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed("Hello, how are you?\n", "Fine.\n", then=then))
    words = ["-", "--live", "--from", artifact, "--out", tmp_path / "x.wav", "--num-steps", 1]
    assert say(*words) == code
    told = capsys.readouterr().err
    assert said in told
    assert "the text is read from here; Ctrl-D" in told
    assert soundfile.info(tmp_path / "x.wav").frames >= 7680


def test_live_session_that_is_stopped_before_it_speaks_leaves_no_file(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed(then=KeyboardInterrupt()))
    assert say("-", "--live", "--from", artifact, "--out", tmp_path / "x.wav") == 130
    assert list(tmp_path.iterdir()) == []


def test_loading_is_told_first_and_again_while_it_lasts(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say("hello", "--from", artifact, "--out", tmp_path / "x.wav", "--stop-threshold", 0) == 0
    assert capsys.readouterr().err.startswith(f"loading {artifact}/out/bundle (")
    with told_while("loading it", every_seconds=0.001):
        until(lambda: "loading it: 0." in capsys.readouterr().err, what="it is told how long it takes")


def test_speech_that_takes_long_tells_how_much_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    spoken = SpeechProgress(6.25, every_seconds=0.0)
    assert not spoken.cancelled()
    assert not spoken.cancelled()
    assert "0.2 s of speech after 0.0 s" in capsys.readouterr().err


def test_prompt_is_read_once(artifact: Path, prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, files = prompts.read_sound, list[object]()

    def counted(sound: prompts.Sound) -> tuple[np.ndarray, int, str]:
        files.extend([sound] if isinstance(sound, Path) else [])
        return read(sound)

    monkeypatch.setattr(prompts, "read_sound", counted)
    words = ["hello", "--from", artifact, "--prompt-audio", prompt, "--prompt-text", "hm", "--stop-threshold", 0]
    assert say(*words, "--out", tmp_path / "x.wav") == 0
    assert files == [prompt]


def test_long_text_has_time_for_each_of_its_pieces() -> None:
    parser, sentence = (
        build_parser(only="say"),
        "This is a sentence of a hundred letters or so, and it goes on and on. ",
    )
    for words, seconds in ((["-"], 120.0), (["-", "--whole"], 30.0), (["-", "--max-seconds", "9"], 9.0)):
        args = parser.parse_args(["say", "--from", "x", *words])
        refuse_request(args, sentence * 8)
        assert args.max_seconds == seconds


def test_very_short_text_is_cut_where_it_cannot_take_longer_and_that_is_told(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["A.", "--from", artifact, "--out", tmp_path / "x.wav", "--stop-threshold", 1, "--num-steps", 1]
    assert say(*words, "--max-seconds", 3) == 0
    assert "CUT after 1.60 s, where so short a text" in capsys.readouterr().err
    assert say(*words, "--max-seconds", 3, "--no-stop-guard") == 0
    assert "CUT at the maximum of 3 s" in capsys.readouterr().err


MISTAKES = {
    "hub id": (["a", "--from", "owner/model"], "neither a folder nor in the hub's local cache, and nothing is downl"),
    "hub id's revision": (["a", "--from", "owner/model", "--revision", "v9"], "owner/model at revision v9 is neither"),
    "device": (["a", "--from", "ARTIFACT", "--device", "tpu"], "device tpu cannot be used here"),
    "too long": (["a" * 100000, "--from", "ARTIFACT"], "the text has 100000 characters, and at most 20000 are taken"),
    "too long at once": (
        ["a b" * 2000, "--whole", "--from", "ARTIFACT"],
        "the text has 6000 characters, and at most 4096",
    ),
    "control character": (["a\x1bb", "--from", "ARTIFACT"], "the control character U+001B at position 1; take it out"),
    "mode without a prompt": (["a", "--from", "ARTIFACT", "--mode", "xvector"], "mode xvector needs prompt audio"),
    "template": (["a", "--from", "ARTIFACT", "--template", "song"], "unknown template 'song'; there are: tts"),
    "live and text": (["a", "--live", "--from", "ARTIFACT"], "--live speaks what comes from stdin"),
    "guidance": (["a", "--from", "ARTIFACT", "--guidance-scale", "-1"], "guidance must be a number of at least 0"),
    "prompt that is no sound": (["a", "--from", "ARTIFACT", "--prompt-audio", __file__], "cannot be read as sound"),
    "missing bundle": (["hello", "--from", "nowhere"], "nowhere: no such file or folder, and no 'nowhere' in "),
    "no text": (["  ", "--from", "ARTIFACT"], "there is no text to speak"),
    "prompt text alone": (["a", "--from", "ARTIFACT", "--prompt-text", "hm"], "give both"),
    "prompt not there": (["a", "--from", "ARTIFACT", "--prompt-audio", "gone.wav"], "no prompt audio at gone.wav"),
    "no steps": (["a", "--from", "ARTIFACT", "--num-steps", "0"], "at least one step"),
    "name too long": (["a", "--from", "gone", "--out", f"{'x' * 300}.wav"], "cannot be written: File name too long"),
    "place of the kernel": (["a", "--from", "gone", "--out", "/proc/x.wav"], "/proc/x.wav cannot be written: "),
    "no numbers": (["a", "--from", "ARTIFACT", "--device", "meta"], "device meta cannot be used here"),
    "text before bundle": (["  ", "--from", "nowhere"], "there is no text to speak"),
    "prompt before bundle": (["a", "--from", "nowhere", "--prompt-audio", "gone.wav"], "no prompt audio at gone.wav"),
    "seed before bundle": (["a", "--from", "nowhere", "--seed", "-1"], "the seed is -1"),
    "no time": (["a", "--from", "ARTIFACT", "--max-seconds", "0"], "allow some seconds"),
    "strange language": (["a", "--from", "ARTIFACT", "--language", "no such one"], "not a language"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_a_sentence_with_exit_code_1_and_leaves_no_file(
    name: str, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words, sentence = MISTAKES[name]
    assert say("--out", "x.wav", *[str(artifact) if word == "ARTIFACT" else word for word in words]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("stipple: ")
    assert sentence in told.err
    assert told.out == ""
    assert list(tmp_path.iterdir()) == []


def test_bundle_with_files_missing_names_them(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_bytes((artifact / "out" / "bundle" / "config.json").read_bytes())
    assert say("hello", "--from", tmp_path / "half", "--out", tmp_path / "x.wav") == 1
    told = capsys.readouterr().err
    assert "not a whole bundle; missing: " in told
    assert "vocoder.safetensors" in told


def test_bundle_that_cannot_speak_yet_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    young: Bundle = small_bundle(backbone=False)
    save_bundle(young, tmp_path / "young")
    assert say("hello", "--from", tmp_path / "young", "--out", tmp_path / "x.wav") == 1
    assert "no backbone yet" in capsys.readouterr().err


def test_only_a_regular_file_is_replaced_and_a_link_is_followed(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["hello", "--from", artifact, "--stop-threshold", 0, "--num-steps", 1, "--out"]
    os.mkfifo(tmp_path / "pipe")
    assert say(*words, tmp_path / "pipe") == 1
    assert "pipe is a device, a pipe or a socket; name a wav file" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link.wav").symlink_to(tmp_path / "real.wav")
    assert say(*words, tmp_path / "link.wav") == 0
    assert (tmp_path / "link.wav").is_symlink()
    assert soundfile.info(tmp_path / "real.wav").frames > 0
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert say(*words, tmp_path / "loop") == 1
    assert "loop is a link that leads to itself" in capsys.readouterr().err


def test_place_that_cannot_be_written_is_told_before_networks_are_loaded(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say("hello", "--from", artifact, "--out", tmp_path / "no" / "x.wav") == 1
    assert "lies in a folder that does not exist" in capsys.readouterr().err


def test_closed_stdin_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert say("-", "--from", "nowhere") == 1
    assert "stdin is closed" in capsys.readouterr().err
