"""Segment: cuts at pauses, margins without overlap, nothing that was speech is lost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.clip import Clip, Decoded, Turn, Unusable
from pipelines.hearing.turn_cuts import Span, divided, holders, overlap_ratio, without_strays
from pipelines.readers import folder
from pipelines.row import Recording
from pipelines.transforms import probe
from pipelines.transforms.segment import Config, Cut, Transform, frames


@pytest.fixture(scope="module")
def segment() -> Transform:
    return Transform(Config())


def speech(*runs: tuple[float, float], seconds: float, level: float = 0.9) -> NDArray[np.float32]:
    """Probabilities: `level` within the runs, 0.05 elsewhere."""
    speech_P = np.full(frames(seconds), 0.05, dtype=np.float32)
    for start, end in runs:
        speech_P[frames(start) : frames(end)] = level
    return speech_P


def decoded(seconds: float, *, text: str | None = None) -> Decoded:
    recording = Recording(uri="x.wav", name="x.wav", bytes=1, sha256="0" * 64, text=text, emotion="sad")
    return Decoded(recording, np.zeros(round(seconds * 16000), np.float32), 16000, 1)


def test_speech_goes_on_until_it_is_clearly_over(segment: Transform) -> None:
    speech_P = np.array([0.1] * 5 + [0.4] * 5 + [0.6] * 5 + [0.4] * 5 + [0.3] + [0.6] * 2 + [0.1] * 5, np.float32)
    assert segment.spans(speech_P) == [Span(10, 20)], "0.4 keeps speech going, does not begin it; 64 ms is a click"


def test_short_pauses_are_bridged_up_to_the_target(segment: Transform) -> None:
    runs = [(number * 3.0, number * 3.0 + 2.5) for number in range(12)]
    merged = segment.merge(segment.spans(speech(*runs, seconds=40)))
    assert all(end - start <= frames(20) for start, end, _ in merged)
    assert merged[0].end - merged[0].start > frames(15)
    assert segment.merge([Span(0, 100), Span(100 + frames(0.9), 300)]) == [Span(0, 100), Span(100 + frames(0.9), 300)]


def test_long_speech_is_cut_where_it_is_least_probable(segment: Transform) -> None:
    speech_P = speech((0, 70), seconds=70)
    speech_P[frames(21) : frames(21.2)] = 0.5
    speech_P[frames(45) : frames(45.2)] = 0.45
    pieces = segment.cut([Span(0, len(speech_P))], speech_P)
    assert [piece.start for piece in pieces[1:]] == pytest.approx([frames(21.1), frames(45.1)], abs=4)
    assert [pieces[0].start, pieces[-1].end] == [0, len(speech_P)]
    assert all(a.end == b.start for a, b in zip(pieces, pieces[1:], strict=False))
    assert all(end - start <= frames(29.7) for start, end, _ in pieces)


def test_what_probe_did_to_the_samples_goes_into_the_row(segment: Transform) -> None:
    changed = replace(decoded(5), channel=3, gain=0.25)
    for given, told in ((changed, (3, 0.25)), (decoded(5), (None, None))):
        piece = segment.piece(given, (0, 32000), speech((0, 2), seconds=5), voice=None, text_fits=False)
        assert (piece.segment.channel, piece.segment.gain) == told


def test_sounds_are_kept_whole_where_the_manifest_says_so_and_with_the_caption_of_the_corpus() -> None:
    given = decoded(40)
    given.recording.extra["caption"] = "rain on a tin roof"
    assert isinstance(Transform(Config())(given), Unusable)
    cut = Transform(Config(whole=True))(given)
    assert isinstance(cut, Cut)
    (clip,) = cut.pieces
    assert isinstance(clip, Clip)
    assert (clip.segment.start_sample, clip.segment.end_sample) == (0, 30 * 16000)
    assert (clip.segment.given_caption, clip.segment.speech_ratio, cut.speech_seconds) == ("rain on a tin roof", 0, 0)


def test_margins_neither_overlap_nor_leave_the_recording(segment: Transform) -> None:
    spans = [Span(1, 50), Span(54, 90), Span(90, 124)]
    made = segment.padded(spans, decoded(4.0))
    assert made[0][0] == 0
    assert made[0][1] == made[1][0] == 52 * 512
    assert made[1][1] == made[2][0] == 90 * 512
    assert made[2][1] == 64000


class Heard(Transform):
    """The transform, with speech where a test says it is."""

    def __init__(self, speech_P: NDArray[np.float32]) -> None:
        super().__init__(Config())
        self.vad.probabilities = lambda wave_S: speech_P  # type: ignore[method-assign]


def test_text_keeps_its_recording_whole() -> None:
    runs = speech((1, 3), (8, 9), (14, 14.5), seconds=16)
    whole = Heard(runs)(decoded(16, text="some words"))
    assert isinstance(whole, Cut)
    assert [piece.segment.given_text for piece in whole.pieces] == ["some words"]
    assert whole.pieces[0].segment.given_emotion == "sad"
    assert whole.pieces[0].segment.seconds == pytest.approx(13.8, abs=0.05)
    parts = Heard(runs)(decoded(16))
    assert isinstance(parts, Cut)
    assert [type(piece).__name__ for piece in parts.pieces] == ["Clip", "Clip", "Rejected"]


def test_text_of_a_longer_recording_belongs_to_none_of_its_pieces() -> None:
    cut = Heard(speech((0, 18), (20, 38), seconds=40))(decoded(40, text="some words"))
    assert isinstance(cut, Cut)
    assert [piece.segment.given_text for piece in cut.pieces] == [None, None]


def test_cut_through_a_word_is_told() -> None:
    cut = Heard(speech((0, 2), (4, 6), seconds=7))(decoded(7))
    assert isinstance(cut, Cut)
    assert [piece.segment.edge_active for piece in cut.pieces] == [True, False]


def spoken(cut: object) -> list[tuple[float, float, str | None, float | None]]:
    """Start and end of the pieces to a tenth of a second, their voices, their overlap."""
    assert isinstance(cut, Cut)
    found = [piece.segment for piece in cut.pieces]
    return [(round(s.start_sample / 16000, 1), round(s.end_sample / 16000, 1), s.turn, s.overlap_ratio) for s in found]


def test_no_segment_reaches_across_two_voices() -> None:
    turns = (Turn(0, 3, "0"), Turn(3, 6, "1"), Turn(6, 9, "1"))
    speech_P = speech((0, 9), seconds=9)
    speech_P[frames(3.1) : frames(3.2)] = 0.5
    cut = Heard(speech_P)(replace(decoded(9), turns=turns))
    assert [voice for _, _, voice, _ in spoken(cut)] == ["0", "1"]
    assert spoken(cut)[0][1] == spoken(cut)[1][0] == pytest.approx(3.15, abs=0.06), "the dip, not the end of the turn"
    pause = Heard(speech((0, 2), (2.4, 5), (5.3, 9), seconds=9))(replace(decoded(9), turns=turns))
    assert [voice for _, _, voice, _ in spoken(pause)] == ["0", "1"]
    assert spoken(Heard(speech_P)(decoded(9))) == [(0, 9, None, None)], "as before where nobody was told apart"


def test_what_another_says_is_a_piece_of_its_own_and_nothing_is_lost() -> None:
    turns = (Turn(0, 4, "0"), Turn(4, 4.6, "1"), Turn(4.6, 9, "0"))
    cut = Heard(speech((0, 9), seconds=9))(replace(decoded(9), turns=turns))
    assert isinstance(cut, Cut)
    assert [(type(piece).__name__, piece.segment.turn) for piece in cut.pieces] == [
        ("Clip", "0"),
        ("Rejected", "1"),
        ("Clip", "0"),
    ]
    assert sum(piece.segment.seconds for piece in cut.pieces) == pytest.approx(9, abs=0.05)


def test_overlap_is_told_and_the_voice_that_began_keeps_the_floor() -> None:
    turns = (Turn(0, 6, "0"), Turn(4, 8, "1"))
    cut = Heard(speech((0, 8), seconds=8))(replace(decoded(8), turns=turns))
    (_, end, first, early), (_, _, second, late) = spoken(cut)
    assert (end, first, second) == (pytest.approx(6, abs=0.3), "0", "1")
    assert early == pytest.approx(2 / 6, abs=0.05)
    assert late == pytest.approx(0, abs=0.05)


def test_a_text_stays_whole_with_one_voice_and_is_nobodys_with_two() -> None:
    runs = speech((1, 4), (5, 8), seconds=9)
    one = (Turn(0.9, 8.1, "0"),)
    whole = Heard(runs)(replace(decoded(9, text="some words"), turns=one))
    assert isinstance(whole, Cut)
    assert [(piece.segment.given_text, piece.segment.turn) for piece in whole.pieces] == [("some words", "0")]
    two = (Turn(0.9, 4.1, "0"), Turn(4.9, 8.1, "1"))
    parts = Heard(runs)(replace(decoded(9, text="some words"), turns=two))
    assert isinstance(parts, Cut)
    assert [(piece.segment.given_text, piece.segment.turn) for piece in parts.pieces] == [(None, "0"), (None, "1")]


def test_speech_in_no_turn_belongs_to_the_voice_beside_it() -> None:
    voices = holders([Turn(1, 2, "0"), Turn(3, 4, "1")], frames=100, step_seconds=0.05)
    found = divided([Span(10, 90)], voices, dips_P=np.ones(100, np.float32), step_seconds=0.05)
    assert [(span.start, span.end, span.voice) for span in found] == [(10, 60, "0"), (60, 90, "1")]
    alone = divided([Span(85, 95)], voices, dips_P=np.ones(100, np.float32), step_seconds=0.05)
    assert alone == [Span(85, 95, None)]


def test_a_scrap_at_the_edge_of_a_turn_belongs_to_its_neighbor() -> None:
    runs = [Span(0, 50, "0"), Span(50, 53, "1"), Span(53, 90, "0"), Span(90, 94, "1")]
    assert without_strays(runs, shortest=6) == [Span(0, 94, "0")]
    assert without_strays([Span(0, 3, "0")], shortest=6) == [Span(0, 3, "0")]


def test_overlap_counts_time_not_turns() -> None:
    turns = [Turn(0, 4, "0"), Turn(1, 3, "1"), Turn(2, 3, "2"), Turn(3.5, 5, "0")]
    assert overlap_ratio(turns, start_seconds=0, end_seconds=4) == pytest.approx(0.5)
    assert overlap_ratio([], start_seconds=0, end_seconds=4) == 0


def test_keys_do_not_depend_on_where_decoding_began() -> None:
    runs = speech((1, 3), seconds=4)
    one = Heard(runs)(decoded(4))
    other = Heard(runs)(replace(decoded(4), offset_samples=16000))
    assert isinstance(one, Cut)
    assert isinstance(other, Cut)
    a, b = one.pieces[0].segment, other.pieces[0].segment
    assert b.start_sample - a.start_sample == 16000
    assert a.key != b.key


def test_noise_is_not_speech(segment: Transform) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 160000).astype(np.float32)
    found = segment(replace(decoded(10), wave_S=noise))
    assert isinstance(found, Unusable)
    assert found.reason.startswith("dropped:no_speech")


@pytest.mark.shared
def test_real_speech_is_found_and_real_noise_is_not(segment: Transform, shared: Path) -> None:
    decode = probe.Transform(probe.Config())
    for recording in folder.recordings(folder.Config(), shared / "audio"):
        kind = recording.extra.get("kind")
        if kind not in ("noise", "music", "conversation", "noisy"):
            continue
        whole = decode.decode(recording)
        assert isinstance(whole, Decoded), whole
        cut = segment(whole)
        clips = [piece for piece in cut.pieces if isinstance(piece, Clip)] if isinstance(cut, Cut) else []
        if kind in ("noise", "music"):
            assert not clips, recording.name
            continue
        assert isinstance(cut, Cut)
        edges = [(c.segment.start_sample, c.segment.end_sample) for c in clips]
        assert all(a[1] <= b[0] for a, b in zip(edges, edges[1:], strict=False))
        assert all(c.segment.seconds <= 30 and len(c.wave_S) == e - s for c, (s, e) in zip(clips, edges, strict=True))
        covered = sum(c.segment.seconds * (c.segment.speech_ratio or 0) for c in clips)
        assert covered >= 0.97 * cut.speech_seconds, recording.name
