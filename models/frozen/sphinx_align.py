"""PocketSphinx as an aligner: where every word of an English text lies in its sound, and how well it fits there."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from models.frozen import Wave, fingerprint_of, wheel_file
from models.frozen.pocketsphinx import decoder_of, is_silent, listen

FRAMES_PER_SECOND = 100
BEAM = 1e-80
"""Wide enough that right texts are followed to their end in noise too."""
FILLER = re.compile(r"^(<.*>|\[.*\])$")
SCALE = 1024
"""The search keeps its scores so many times smaller than log likelihoods."""
SOUNDS = {
    "tion": "SH AH N", "sion": "ZH AH N", "igh": "AY", "tch": "CH", "ch": "CH", "sh": "SH", "th": "TH", "ph": "F",
    "wh": "W", "ck": "K", "ng": "NG", "qu": "K W", "ee": "IY", "ea": "IY", "oo": "UW", "ou": "AW", "ow": "OW",
    "oa": "OW", "ai": "EY", "ay": "EY", "ei": "EY", "ey": "IY", "oi": "OY", "oy": "OY", "au": "AO", "aw": "AO",
    "ar": "AA R", "or": "AO R", "er": "ER", "ir": "ER", "ur": "ER", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH",
    "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P",
    "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
"""A rough reading of words that the dictionary lacks, longest letters first: good enough to be followed over."""
SPELLING = re.compile("|".join(sorted(SOUNDS, key=len, reverse=True)))
WORST = -20.0
"""Score of a word that fits nowhere."""


@dataclass(frozen=True)
class AlignedWord:
    """A word of the text in its place."""

    text: str
    start_seconds: float
    end_seconds: float
    score: float
    """Log likelihood a frame, against the best sound of speech in each frame: 0 at best, below -3 where it is wrong."""
    known: bool
    """Whether the dictionary has it. Where not, it is read by rough rules, and its score says little."""


class SphinxAligner:
    """American English, 16 kHz. One decoder for each thread."""

    RATE_HZ = 16000

    def __init__(self) -> None:
        self.model = wheel_file("pocketsphinx", "model", "en-us")

    @property
    def fingerprint(self) -> str:
        """Version, model files, and the search."""
        return fingerprint_of("sphinx_align", package="pocketsphinx", weights=[self.model], beam=BEAM)

    def __call__(self, waves: Sequence[Wave], texts: Sequence[str]) -> list[tuple[AlignedWord, ...] | None]:
        """The words of each text in its waveform (16 kHz), in order.

        None where the text cannot be followed to its end: it is another one, or longer than the sound.
        """
        return [self.align(wave_S, words_of(text)) for wave_S, text in zip(waves, texts, strict=True)]

    def align(self, wave_S: Wave, words: Sequence[str]) -> tuple[AlignedWord, ...] | None:
        """One waveform; no word gives no alignment."""
        if not words or is_silent(wave_S):
            return None
        for word in words:
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, sounds_of(word), True)
                self._unknown.add(word)
        self._decoder.set_align_text(" ".join(words))
        listen(self._decoder, wave_S)
        if self._decoder.hyp() is None:
            return None
        placed = [part for part in self._decoder.seg() if not FILLER.match(part.word)]
        if len(placed) != len(words):
            return None
        return tuple(
            placed_word(part, text=word, known=word not in self._unknown)
            for part, word in zip(placed, words, strict=True)
        )

    @cached_property
    def _unknown(self) -> set[str]:
        """Words that were added to the dictionary."""
        return set()

    @cached_property
    def _decoder(self) -> Any:
        return decoder_of(self.model, lm=None, beam=BEAM, wbeam=BEAM, pbeam=BEAM, bestpath=False)


def words_of(text: str) -> list[str]:
    """Words as the dictionary writes them: lower case, apostrophes inside."""
    letters = re.sub(r"[^a-z' ]", " ", text.lower().replace("\u2019", "'"))
    return [word for word in (part.strip("'") for part in letters.split()) if word]


def sounds_of(word: str) -> str:
    """Phones of a word that the dictionary lacks; a doubled letter sounds once."""
    return " ".join(SOUNDS[letters] for letters in SPELLING.findall(re.sub(r"([^aeo])\1", r"\1", word)))


def placed_word(part: Any, *, text: str, known: bool) -> AlignedWord:
    """A segment of the decoder as a word."""
    frames = part.end_frame - part.start_frame + 1
    score = math.log(part.ascore) * SCALE / frames if part.ascore > 0 else WORST
    return AlignedWord(
        text=text,
        start_seconds=part.start_frame / FRAMES_PER_SECOND,
        end_seconds=(part.end_frame + 1) / FRAMES_PER_SECOND,
        score=max(WORST, score),
        known=known,
    )
