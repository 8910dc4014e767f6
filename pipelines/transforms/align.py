"""Where each word of the text lies in the sound, and how well it fits: a wrong text, a lost or cut word show here.

English only: the embedded aligner knows no other language. Numbers are spelled out first. A text that cannot be
followed to its end gets the worst score and no words. It costs a hundredth of the time that the sound lasts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infra.manifest import Manifest
from models.frozen.silero import Silero
from models.frozen.sphinx_align import WORST, AlignedWord, SphinxAligner
from pipelines.clip import Clip, Rejected
from pipelines.hearing import texts
from pipelines.row import Wave

SETS = ("align_score", "edge_score", "words", "word_starts", "word_ends", "word_scores", "uncovered_seconds")
READS: tuple[str, ...] = ("text", "language", "heard_language")
CHANGES_WAVE = False

LANGUAGE = "en"
SPEECH = 0.5
LETTER_SECONDS = 0.15
"""What a letter can last: a word that is stretched over the place of others covers no more than this for each."""
BAD = -6.0
"""Worse than this no word counts in the mean: one that the dictionary has wrong spoils no text."""


class Config(Manifest):
    pass


class Transform:
    """Sets the words, their times and scores, the score of the text and of its ends, and the speech without words."""

    def __init__(self, cfg: Config) -> None:
        self.aligner, self.vad = SphinxAligner(), Silero()
        self.fingerprint = "+".join(model.fingerprint for model in (self.aligner, self.vad, texts.normalizer()))

    def __call__(self, clips: list[Clip]) -> list[Clip | Rejected]:
        """One clip each, in order."""
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> Clip:
        """A clip with its alignment, where its text can be aligned."""
        segment = clip.segment
        language = segment.language or segment.heard_language
        if not segment.text or language != LANGUAGE:
            return clip
        wave_S = clip.at(self.aligner.RATE_HZ)
        words = self.aligner([wave_S], [texts.spelled_out(segment.text, language=LANGUAGE)])[0] or ()
        scores = [max(BAD, word.score) for word in words if word.known]
        ends = [word.score for word in (*words[:1], *words[-1:]) if word.known]
        clip = clip.with_(uncovered_seconds=self.uncovered(wave_S, words))
        if not words:
            return clip.with_(align_score=WORST, edge_score=WORST)
        return clip.with_(
            align_score=round(sum(scores) / len(scores), 3) if scores else None,
            edge_score=round(min(ends), 3) if ends else None,
            words=tuple(word.text for word in words),
            word_starts=tuple(round(word.start_seconds, 2) for word in words),
            word_ends=tuple(round(word.end_seconds, 2) for word in words),
            word_scores=tuple(round(word.score, 2) for word in words),
        )

    def uncovered(self, wave_S: Wave, words: Sequence[AlignedWord]) -> float:
        """The longest stretch of speech in which no word lies, in seconds."""
        spoken: NDArray[np.bool_] = self.vad([wave_S])[0] > SPEECH
        at = (np.arange(len(spoken)) + 0.5) * Silero.FRAME_SECONDS
        for word in words:
            end = min(word.end_seconds, word.start_seconds + LETTER_SECONDS * max(3, len(word.text)))
            spoken &= ~((word.start_seconds <= at) & (at < end))
        runs = [len(run) for run in "".join("x" if one else " " for one in spoken).split()]
        return round(max(runs, default=0) * Silero.FRAME_SECONDS, 3)
