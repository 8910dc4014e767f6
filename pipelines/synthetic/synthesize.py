"""Recordings with known faults, made without a microphone: voices, languages, and what goes wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.frozen.espeak import Espeak, Utterance
from pipelines.row import Wave
from pipelines.synthetic.sentences import OTHER_WORDS, SENTENCES
from pipelines.synthetic.sounds import clipped, joined, mixed, music, narrowed, noise


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker."""

    name: str
    language: str
    espeak: str
    words_per_minute: int
    pitch: int


VOICES = (
    Voice("bruno", "en", "en-us+m3", 165, 45),
    Voice("greta", "de", "de+f2", 160, 55),
    Voice("paula", "fr", "fr+f3", 160, 50),
    Voice("simon", "es", "es+m7", 170, 50),
    Voice("lin", "zh", "cmn+f2", 150, 50),
    Voice("alice", "en", "en+f2", 165, 55),
    Voice("otto", "de", "de+m2", 160, 40),
    Voice("marcel", "fr", "fr+m6", 150, 30),
)
SECOND_TALKER = Voice("ida", "en", "en-us+steph2", 160, 55)

EXPECT = {
    "clean": "kept", "unlabeled": "kept", "untold": "kept", "light_noise": "kept",
    "music_bed": "either", "loud_noise": "cleaned",
    "music": "dropped", "noise": "dropped", "narrow_band": "dropped", "clipped": "dropped",
    "wrong_text": "dropped", "silent": "dropped", "two_voices": "one voice each",
    "dialogue": "one voice each",
    "corrupt": "failed", "truncated": "failed", "empty": "failed",
}  # fmt: skip
"""Kind of recording -> what a good pipeline does with it. `cleaned`: dropped, or enhanced first.
`one voice each`: cut so that no segment holds two voices."""


@dataclass(frozen=True)
class Take:
    """A recording to make: what is in it, what is told of it, and the truth."""

    name: str
    kind: str
    wave_S: Wave
    rate_hz: int
    truth: dict[str, Any]
    """text, language, speaker, turns: as far as the kind has them."""
    told: dict[str, Any] = field(default_factory=dict)
    """What the catalog says of it: the truth, part of it, or something wrong."""
    cut_at: float | None = None
    """Keep only this share of the file's bytes."""
    raw: bytes | None = None
    """These bytes instead of a sound file."""


class Studio:
    """Makes takes one after another; noise and music come from the seed and the take's name, nothing else."""

    def __init__(self, *, seed: int) -> None:
        self.seed, self.espeak = seed, Espeak()
        self.rate_hz = Espeak.RATE_HZ

    def say(self, voice: Voice, text: str) -> Wave:
        """A sentence, with a short silence at each end, as a person leaves it."""
        utterance = Utterance(text=text, voice=voice.espeak, words_per_minute=voice.words_per_minute, pitch=voice.pitch)
        speech_S = self.espeak.say(utterance)
        speech_S = speech_S * np.float32(0.5 / np.abs(speech_S).max())
        return joined([speech_S], gap_seconds=0.25, rate_hz=self.rate_hz)

    def random(self, name: str) -> np.random.Generator:
        """The noise of one take."""
        return np.random.default_rng([self.seed, *name.encode()])

    def spoken(self, name: str, kind: str, voice: Voice, text: str) -> Take:
        """A take of one sentence, told in full."""
        truth = {"text": text, "language": voice.language, "speaker": voice.name}
        return Take(name, kind, self.say(voice, text), self.rate_hz, truth, told=dict(truth))


def takes(*, seed: int, voices: int, sentences_per_voice: int, faults: bool) -> Iterator[Take]:
    """All takes, in the order of their names within a kind. Each is independent of the others."""
    studio = Studio(seed=seed)
    for voice, lines in cast(voices=voices, sentences_per_voice=sentences_per_voice):
        for number, text in enumerate(lines):
            name = f"{voice.language}/{voice.name}_{number:02d}.{'flac' if number % 4 == 3 else 'wav'}"
            take = studio.spoken(name, "clean", voice, text)
            if number == 2 and voice.language != "zh":
                take.told.pop("language")
                take = Take(**{**vars(take), "kind": "unlabeled"})
            if number == 3 and voice.language == "en":
                take.told.pop("text")
                take = Take(**{**vars(take), "kind": "untold"})
            yield take
    if faults:
        yield from with_background(studio)
        yield from of_many(studio)
        yield from damaged(studio)


def cast(*, voices: int, sentences_per_voice: int) -> Iterator[tuple[Voice, tuple[str, ...]]]:
    """Who says what: voices of one language share its sentences out, and begin again when they run out."""
    said: dict[str, int] = {}
    for voice in VOICES[:voices]:
        lines = SENTENCES[voice.language]
        first = said.setdefault(voice.language, 0)
        said[voice.language] += sentences_per_voice
        yield voice, tuple(lines[(first + number) % len(lines)] for number in range(sentences_per_voice))


def with_background(studio: Studio) -> Iterator[Take]:
    """Speech over noise and music, at several levels; and noise and music alone."""
    for kind, snr_db, voice, line in (
        ("light_noise", 28, 0, -1), ("light_noise", 28, 1, -1), ("loud_noise", 0, 3, -1), ("loud_noise", -3, 2, -1),
        ("music_bed", 15, 5, -2), ("music_bed", 6, 6, -2),
    ):  # fmt: skip
        who = VOICES[voice]
        name = f"background/{kind}_{who.name}.wav"
        take = studio.spoken(name, kind, who, SENTENCES[who.language][line])
        seconds, random = len(take.wave_S) / studio.rate_hz, studio.random(name)
        under = music if kind == "music_bed" else noise
        back_S = under(seconds, rate_hz=studio.rate_hz, random=random)
        yield Take(**{**vars(take), "wave_S": mixed(take.wave_S, back_S, snr_db=snr_db)})
    for kind, make in (("music", music), ("noise", noise)):
        name = f"background/{kind}.wav"
        wave_S = make(12.0, rate_hz=48000, random=studio.random(name)) * np.float32(0.3)
        yield Take(name, kind, wave_S, 48000, {})


def of_many(studio: Studio) -> Iterator[Take]:
    """Two people talking: with pauses between their turns, and without."""
    pair = (VOICES[0], SECOND_TALKER)
    for kind, gap, lines in (("dialogue", 1.3, SENTENCES["en"][-8:-2]), ("two_voices", 0.1, SENTENCES["en"][-2:])):
        parts, turns, at = [], [], 0.0
        for number, text in enumerate(lines):
            wave_S = studio.say(pair[number % 2], text)
            seconds = len(wave_S) / studio.rate_hz
            turns.append(
                {"start": round(at, 3), "end": round(at + seconds, 3), "speaker": pair[number % 2].name, "text": text}
            )
            parts.append(wave_S)
            at += seconds + gap
        wave_S = joined(parts, gap_seconds=gap, rate_hz=studio.rate_hz, ends=False)
        yield Take(
            f"many/{kind}.wav", kind, wave_S, studio.rate_hz, {"language": "en", "turns": turns}, {"language": "en"}
        )


def damaged(studio: Studio) -> Iterator[Take]:
    """What recordings suffer: a telephone's band, clipping, a wrong transcript, silence, lost and broken bytes."""
    rate_hz = studio.rate_hz
    for number, who in ((4, VOICES[0]), (5, VOICES[1])):
        take = studio.spoken(f"damaged/narrow_band_{who.name}.wav", "narrow_band", who, SENTENCES[who.language][number])
        yield Take(**{**vars(take), "wave_S": narrowed(take.wave_S, rate_hz=rate_hz, to_hz=48000), "rate_hz": 48000})
    for number, who in ((6, VOICES[3]), (7, VOICES[5])):
        take = studio.spoken(f"damaged/clipped_{who.name}.wav", "clipped", who, SENTENCES[who.language][number])
        yield Take(**{**vars(take), "wave_S": clipped(take.wave_S, gain=12.0)})
    take = studio.spoken("damaged/wrong_text.wav", "wrong_text", VOICES[0], SENTENCES["en"][9])
    take.told["text"] = OTHER_WORDS
    yield take
    nothing = np.zeros(3 * rate_hz, dtype=np.float32)
    yield Take("damaged/silent.wav", "silent", nothing, rate_hz, {})
    take = studio.spoken("damaged/truncated.flac", "truncated", VOICES[6], SENTENCES["de"][10])
    yield Take(**{**vars(take), "cut_at": 0.55})
    junk = b"RIFF" + studio.random("damaged/corrupt.wav").bytes(20_000)
    yield Take("damaged/corrupt.wav", "corrupt", nothing[:0], rate_hz, {}, raw=junk)
    yield Take("damaged/empty.wav", "empty", nothing[:0], rate_hz, {}, raw=b"")
