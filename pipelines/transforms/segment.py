"""Find speech, and cut it into segments of 1 to 30 s: at pauses, with a margin, without overlap.

The rules: speech begins where its probability reaches `onset` and ends where it falls below `offset`; runs shorter
than `min_speech_seconds` are clicks; runs less than `merge_gap_seconds` apart are one, up to `target_seconds`; what is
then longer than `max_seconds` is cut where speech is least probable over 128 ms; each piece gets `pad_seconds` of
margin, but never more than half of the way to its neighbor. A recording with a text, and no longer than `max_seconds`,
is one segment from its first to its last speech, whatever the pauses in it.

Where `diarize` has run, a segment has one voice: speech is cut where another voice takes over, and only neighbors of
one voice become one segment. A recording with a text in which others speak too is cut like one without: nobody knows
which words are whose.

Shapes: `speech_P` has the probability of speech in each frame of the detector, 32 ms long (`Silero.FRAME_SECONDS`). A
`Span` is in frames, a place in samples of the waveform at its own rate; both are half-open.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from infra.manifest import Manifest
from models.frozen.silero import Silero
from pipelines.clip import Clip, Decoded, Rejected, Unusable, resampled
from pipelines.hearing.turn_cuts import STRAY_SECONDS, Span, divided, holders, main_voice, overlap_ratio
from pipelines.row import Segment, segment_key

DIP_FRAMES = 4
"""Over which the probability is averaged before speech is cut where it is least."""
EDGE_SECONDS = 0.04
"""At both ends of a segment: speech in there may be a word that was cut (`edge_active`)."""


class Config(Manifest):
    onset: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which speech begins; what is as likely counts as speech in all ratios."""
    offset: float = Field(default=0.35, gt=0, lt=1)
    """Probability below which it ends."""
    min_speech_seconds: float = 0.2
    """Shorter runs are clicks: at 0.1, one was heard in a recording of noise."""
    merge_gap_seconds: float = 0.8
    """The longest pause inside a segment."""
    target_seconds: float = 20
    """No pause is bridged beyond this length; speech without a pause may be longer."""
    min_seconds: float = 1
    """Shorter segments are dropped, unless they have a given text."""
    max_seconds: float = 30
    """No segment is longer, its margins included."""
    pad_seconds: float = 0.15
    """The margin at both ends, so that soft beginnings and ends of words stay in."""
    whole: bool = False
    """Take a recording whole, or its first `max_seconds`, whatever is to be heard in it: for sounds with captions."""


@dataclass(frozen=True)
class Cut:
    """What became of a recording: its pieces in order, and how much speech the detector heard in all of it."""

    pieces: list[Clip | Rejected]
    speech_seconds: float


class Transform:
    """A decoded recording to clips: `spans` of speech, parted by voice, `merge`d, `cut`, `padded`; each a `piece`."""

    def __init__(self, cfg: Config) -> None:
        self.cfg, self.vad = cfg, Silero()

    @property
    def fingerprint(self) -> str:
        return str(self.vad.fingerprint)

    def __call__(self, decoded: Decoded) -> Cut | Unusable:
        """The segments of a recording; `Unusable` where nobody speaks."""
        seconds = len(decoded.wave_S) / decoded.rate_hz
        speech_P = self.vad.probabilities(resampled(decoded.wave_S, rate_hz=decoded.rate_hz, to_hz=Silero.RATE_HZ))
        heard = float((speech_P >= self.cfg.onset).sum()) * Silero.FRAME_SECONDS
        if self.cfg.whole:
            end = min(len(decoded.wave_S), round(self.cfg.max_seconds * decoded.rate_hz))
            fits = decoded.recording.text is not None and end == len(decoded.wave_S)
            return Cut([self.piece(decoded, (0, end), speech_P, voice=None, text_fits=fits)], heard)
        spans = self.spans(speech_P)
        if not spans:
            best = float(speech_P.max()) if len(speech_P) else 0.0
            why = f"dropped:no_speech: the probability of speech is at most {best:.2f}"
            return Unusable(recording=decoded.recording, reason=why, seconds=seconds)
        if decoded.turns:
            voices = holders(decoded.turns, frames=len(speech_P), step_seconds=Silero.FRAME_SECONDS)
            spans = divided(spans, voices, dips_P=smoothed(speech_P), step_seconds=Silero.FRAME_SECONDS)
        voice, others = main_voice(spans)
        whole = decoded.recording.text is not None and seconds <= self.cfg.max_seconds
        whole = whole and others <= frames(STRAY_SECONDS)
        chosen = [Span(spans[0].start, spans[-1].end, voice)] if whole else self.cut(self.merge(spans), speech_P)
        places = zip(self.padded(chosen, decoded), chosen, strict=True)
        pieces = [self.piece(decoded, at, speech_P, voice=span.voice, text_fits=whole) for at, span in places]
        return Cut(pieces, heard)

    def spans(self, speech_P: NDArray[np.float32]) -> list[Span]:
        """Runs of speech, with hysteresis: they begin at `onset` and end below `offset`; clicks are left out."""
        found, start = [], None
        for frame, probability in enumerate([*speech_P.tolist(), 0.0]):
            if start is None and probability >= self.cfg.onset:
                start = frame
            elif start is not None and probability < self.cfg.offset:
                found.append(Span(start, frame))
                start = None
        return [span for span in found if span.end - span.start >= frames(self.cfg.min_speech_seconds)]

    def merge(self, spans: list[Span]) -> list[Span]:
        """Neighbors of one voice a short pause apart are one, as long as they stay within the target."""
        merged = [spans[0]]
        for span in spans[1:]:
            near = span.start - merged[-1].end <= frames(self.cfg.merge_gap_seconds)
            same = span.voice == merged[-1].voice
            if near and same and span.end - merged[-1].start <= frames(self.cfg.target_seconds):
                merged[-1] = merged[-1]._replace(end=span.end)
            else:
                merged.append(span)
        return merged

    def cut(self, spans: list[Span], speech_P: NDArray[np.float32]) -> list[Span]:
        """Cut what is too long, between a third and the whole of the longest length, where speech is least probable."""
        longest = frames(self.cfg.max_seconds - 2 * self.cfg.pad_seconds)
        dips_P = smoothed(speech_P)
        pieces = []
        for start, end, voice in spans:
            begin = start
            while end - begin > longest:
                low, high = begin + longest // 3, min(begin + longest, end - frames(self.cfg.min_seconds))
                at = low + int(np.argmin(dips_P[low:high]))
                pieces.append(Span(begin, at, voice))
                begin = at
            pieces.append(Span(begin, end, voice))
        return pieces

    def padded(self, spans: list[Span], decoded: Decoded) -> list[tuple[int, int]]:
        """The place of each span with its margins, in samples: inside the recording, and no two overlap."""
        step, total = Silero.FRAME_SECONDS * decoded.rate_hz, len(decoded.wave_S)
        edges = [(min(round(a * step), total), min(round(b * step), total)) for a, b, _ in spans]
        pad = round(self.cfg.pad_seconds * decoded.rate_hz)
        made = []
        for number, (start, end) in enumerate(edges):
            before = (edges[number - 1][1] + start) // 2 if number else 0
            after = (end + edges[number + 1][0]) // 2 if number + 1 < len(edges) else total
            made.append((max(start - pad, before), min(end + pad, after)))
        return made

    def piece(
        self,
        decoded: Decoded,
        at: tuple[int, int],
        speech_P: NDArray[np.float32],
        *,
        voice: str | None,
        text_fits: bool,
    ) -> Clip | Rejected:
        """The clip at a place, with what is known of it; rejected where it is too short to be of use.

        `text_fits`: the text of the recording is of this piece, which then is never too short.
        """
        start, end = at
        recording, offset = decoded.recording, decoded.offset_samples
        step = Silero.FRAME_SECONDS * decoded.rate_hz
        inside_P = speech_P[int(start / step) : max(int(np.ceil(end / step)), int(start / step) + 1)] >= self.cfg.onset
        edge = max(int(np.ceil(EDGE_SECONDS / Silero.FRAME_SECONDS)), 1)
        sha256 = recording.sha256 or ""
        seconds = (end - start) / decoded.rate_hz
        overlap = None
        if decoded.turns is not None:
            begin_s, end_s = start / decoded.rate_hz, end / decoded.rate_hz
            overlap = round(overlap_ratio(decoded.turns, start_seconds=begin_s, end_seconds=end_s), 4)
        segment = Segment(
            key=segment_key(sha256, start_sample=offset + start, end_sample=offset + end),
            corpus="",
            recording=recording.name,
            recording_sha256=sha256,
            license=recording.license,
            source=recording.source,
            start_sample=offset + start,
            end_sample=offset + end,
            rate_hz=decoded.rate_hz,
            channels=decoded.channels,
            channel=decoded.channel,
            gain=decoded.gain,
            seconds=seconds,
            given_text=recording.text if text_fits else None,
            given_language=recording.language,
            given_speaker=recording.speaker,
            given_emotion=recording.emotion,
            given_caption=recording.extra.get("caption"),
            speech_ratio=float(inside_P.mean()),
            edge_active=bool(inside_P[:edge].any() or inside_P[-edge:].any()),
            turn=voice,
            overlap_ratio=overlap,
        )
        if seconds < self.cfg.min_seconds and not text_fits:
            return Rejected(segment=segment, reason=f"dropped:short: {seconds:.2f} s of speech between pauses")
        return Clip(segment, decoded.wave_S[start:end])


def smoothed(speech_P: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over 128 ms: where they are least, a cut hurts least."""
    return np.convolve(speech_P, np.ones(DIP_FRAMES) / DIP_FRAMES, mode="same").astype(np.float32)


def frames(seconds: float) -> int:
    """Frames of the detector in so many seconds."""
    return round(seconds / Silero.FRAME_SECONDS)
