"""The record of a recording, and of a segment: typed, versioned, flat.

Scores are facts: a transform writes them once and nobody overwrites them. Verdicts live elsewhere (pipelines/policy).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA = "speechseg/3"

Wave = NDArray[np.float32]


def by(transform: str, default: Any = None) -> Any:
    """A field that only `transform` may set; None until it has run."""
    return field(default=default, metadata={"by": transform})


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A file as delivered: where it is, what came with it, under which license."""

    uri: str
    """Path of the file, or of an archive or table and the place in it (see pipelines/reading/containers.py)."""
    name: str
    """Path relative to the corpus root, with forward slashes: stable across machines, part of nothing but messages."""
    bytes: int
    """Of the recording; in a table, the mean of its row group."""
    sha256: str | None = None
    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    emotion: str | None = None
    """As the corpus names it, in lower case."""
    license: str = "unknown"
    source: str = ""
    """Where it was obtained: a URL or a sentence."""
    start_seconds: float | None = None
    """With `end_seconds`: the interval of the file that the text belongs to, where the corpus gives one."""
    end_seconds: float | None = None
    seconds: float | None = None
    """Duration as the corpus tells it: what decodes much shorter is truncated."""
    split: str | None = None
    """`train`, `test`, ...: the part of the corpus it belongs to, in the words of the corpus."""
    evaluation: bool = False
    """Made for measuring models: kept out of training unless the manifest of the corpus says otherwise."""
    fault: str | None = None
    """Why it cannot be used, where that is known before it is opened: a reason as in `Unusable`."""
    extra: dict[str, Any] = field(default_factory=dict)


RECORDING_FIELDS = tuple(item.name for item in fields(Recording))


def facts_of(recording: Recording) -> dict[str, Any]:
    """The recording as plain data, in the order of its fields; `dataclasses.asdict` takes ten times as long."""
    return {name: getattr(recording, name) for name in RECORDING_FIELDS}


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One interval of a recording, one speaker; with its text, an utterance. One row of the annotations and index."""

    schema: str = SCHEMA
    key: str
    """26 letters and digits, from what the segment is (see `segment_key`); the sample's key in the shard."""
    corpus: str
    recording: str
    """Name of the recording, relative to the corpus root."""
    recording_sha256: str
    license: str
    source: str
    start_sample: int
    end_sample: int
    """Half-open interval, in samples of the recording at `rate_hz`."""
    rate_hz: int
    """Native rate of the recording: never upsampled."""
    channels: int
    """Of the recording: the waveform of a segment has one."""
    seconds: float
    given_text: str | None = None
    """As the corpus has it, like all that is given; None where no text is known to be of this interval."""
    given_language: str | None = None
    given_speaker: str | None = None
    given_emotion: str | None = None
    given_caption: str | None = None
    """How it sounds, in the words of the corpus."""

    # from here on what transforms measure: None until they have run, and where there is nothing to measure
    channel: int | None = by("probe")
    """The only channel that was taken, from 0, where channels cancel or one alone has the sound; None: their mean."""
    gain: float | None = by("probe")
    """What the samples were multiplied by, so that the highest is at full scale, where it was above; None: nothing."""
    speech_ratio: float | None = by("segment")
    """Share of the frames (32 ms) in which speech is likely."""
    edge_active: bool | None = by("segment")
    """Speech in the first or last 40 ms: the cut may have hit a word."""
    turn: str | None = by("segment")
    """The voice that speaks, as `diarize` numbers those of the recording; None where it has not run."""
    overlap_ratio: float | None = by("segment")
    """Share of the segment in which `diarize` heard two voices at once."""
    pcm_sha256: str | None = by("fingerprint")
    """Hash of the samples, 16 bits at the native rate: the same for copies that no codec has touched."""
    audio_print: str | None = by("fingerprint")
    """What the sound is like (`pipelines.copies.prints`), as text: near for re-encoded, cut and resampled copies."""
    music_ratio: float | None = by("separate")
    """Share of the clip in which there is music, beside the speech or instead of it."""
    singing_ratio: float | None = by("separate")
    """Share of the clip in which somebody sings."""
    noise_ratio: float | None = by("separate")
    """Share of the clip in which other background is loud: less than 15 dB below the speech, or instead of it."""
    separated: str | None = by("separate")
    """None: not asked; "no": not needed; "passed": needed, but left as it is; otherwise the backend that took the rest
    away from the voice."""
    separation_residual: float | None = by("separate")
    """Energy of what the backend took away, over that of the clip; None where none ran."""
    separation_gain: float | None = by("separate")
    """Predicted opinion after it, less that before; None where none ran."""
    enhanced: str | None = by("enhance")
    """None: not asked; "no": not needed, or no gain; otherwise the backend that changed the waveform, and its share."""
    enhancement_before: float | None = by("enhance")
    """Predicted opinion of the clip as it was, where that was asked."""
    enhancement_after: float | None = by("enhance")
    """The same of the enhanced clip, also where the original was kept; None where no backend ran."""
    text_raw: str | None = by("transcribe")
    """What is spoken, letter by letter as it was delivered or recognized; None where nobody knows."""
    text: str | None = by("transcribe")
    """`text_raw` without marks of recognizers, markup and outer spaces: what other transforms and people read."""
    text_by: str | None = by("transcribe")
    """`given`, or the recognizer's name; `untranscribed` where `text` is None."""
    heard_text: str | None = by("transcribe")
    """What was recognized beside a given text: of several recognizers, what is nearest to all the others."""
    heard_cer: float | None = by("transcribe")
    """Character error rate of `heard_text` against the given text."""
    heard_language: str | None = by("transcribe")
    """Language that the recognizer of the text, or of `heard_text`, found or was told."""
    heard_log_probability: float | None = by("transcribe")
    """That recognizer's own score; comparable only within one recognizer."""
    heard_no_speech: float | None = by("transcribe")
    """That recognizer's probability that nobody speaks."""
    hypotheses: tuple[str, ...] | None = by("transcribe")
    """What each recognizer heard, in the order of the route."""
    hypotheses_by: tuple[str, ...] | None = by("transcribe")
    """The names of the recognizers whose `hypotheses` these are."""
    pairwise_cer: tuple[float, ...] | None = by("transcribe")
    """Character error rates, row after row: of every text (column) against every text (row), given text first."""
    pairwise_wer: tuple[float, ...] | None = by("transcribe")
    """The same of words; None for scripts without spaces."""
    cer_mean: float | None = by("transcribe")
    """Mean of `pairwise_cer` without its diagonal; None for less than two texts."""
    wer_mean: float | None = by("transcribe")
    """Mean of `pairwise_wer` without its diagonal; None for less than two texts."""
    edge_cer: float | None = by("transcribe")
    """Of the first or last 12 characters of `text` against what others heard, the worse end, mean over the others."""
    length_ratio: float | None = by("transcribe")
    """Characters heard for each character of `text`, mean over the other texts."""
    compression_ratio: float | None = by("transcribe")
    """Of the characters of `text`; of ASCII as Whisper computes it. Above 2.4 it repeats itself."""
    hallucination: tuple[str, ...] | None = by("transcribe")
    """Names of the rules by which `text` looks made up (pipelines/hearing/consistency.py); empty where none applies."""
    untexted_seconds: float | None = by("transcribe")
    """Seconds of speech that no text covers: all of the speech where there is no text."""
    text_norm: str | None = by("text")
    """For comparing: lower case, letters and digits only."""
    text_tts: str | None = by("text")
    """For speaking: punctuated, one form for each character."""
    text_rules: str | None = by("text")
    """Version of the rules, and the names of the models, that made the two."""
    language: str | None = by("language")
    """None where nobody knows, and where sound and text disagree."""
    language_by: str | None = by("language")
    """`given`, `audio+text`, `audio`, `text`, `disagree`, `unknown`."""
    language_audio: str | None = by("language")
    """Likeliest language of the sound, where a network listened, however sure it is."""
    language_audio_probability: float | None = by("language")
    """How sure the network is of `language_audio`, 0 to 1."""
    language_text: str | None = by("language")
    """Likeliest language of the given text, however sure the model is; None for very short ones."""
    language_text_probability: float | None = by("language")
    """How sure the model is of `language_text`, 0 to 1."""
    language_of_text: str | None = by("language_check")
    """Likeliest language of `text`, recognized or given."""
    language_of_text_probability: float | None = by("language_check")
    """How sure the model is of `language_of_text`, 0 to 1."""
    language_agrees: bool | None = by("language_check")
    """Whether `text` is in `language`; None where one of them is not known well enough."""
    align_score: float | None = by("align")
    """How well the words of `text` fit the sound, mean: 0 at best, -20 where it cannot be followed to its end."""
    edge_score: float | None = by("align")
    """The same of the first or last word, the worse one: low where the cut has hit a word, or a word is lost."""
    words: tuple[str, ...] | None = by("align")
    """As spoken, numbers spelled out."""
    word_starts: tuple[float, ...] | None = by("align")
    """Of each of `words`, in seconds from the start of the segment."""
    word_ends: tuple[float, ...] | None = by("align")
    """Of each of `words`, in seconds from the start of the segment."""
    word_scores: tuple[float, ...] | None = by("align")
    """Of each word; one that the dictionary lacks is read by rough rules, and not counted in the two above."""
    uncovered_seconds: float | None = by("align")
    """The longest stretch of speech in which no word of `text` lies."""
    bandwidth_hz: float | None = by("bandwidth")
    """Where the spectrum of the speech ends, before anything was done to the sound."""
    bandwidth_cliff: bool | None = by("bandwidth")
    """The spectrum falls off a cliff somewhere: a low-pass of a resampler or a codec."""
    upsampled: bool | None = by("bandwidth")
    """The recording once had a lower rate than it has now."""
    upsampled_from_hz: int | None = by("bandwidth")
    """The lower rate that an upsampled recording once had."""
    loudness_lufs: float | None = by("loudness")
    """Integrated (ITU-R BS.1770); None for silence, and for less than 0.4 s."""
    peak: float | None = by("loudness")
    """Of the absolute samples; 1 is full scale."""
    clipped_ratio: float | None = by("loudness")
    """Share of the samples at full scale, or in flat tops at the clip's own peak."""
    snr_db: float | None = by("loudness")
    """Speech over background, by the energies of frames of 20 ms; 80 at most."""
    mos_overall: float | None = by("mos")
    """Mean opinion, 1 to 5, as DNSMOS P.835 predicts it."""
    mos_signal: float | None = by("mos")
    """Mean opinion of the speech alone, 1 to 5, as DNSMOS P.835 predicts it."""
    mos_background: float | None = by("mos")
    """Mean opinion of the background, 1 to 5, as DNSMOS P.835 predicts it; 5 is none that disturbs."""
    mos_by: str | None = by("mos")
    """Which network predicted the three mean opinions."""
    utmos: float | None = by("utmos")
    """Mean opinion, 1 to 5, as UTMOS22 predicts it."""
    speaker: str | None = by("speaker")
    """The given speaker, else the voice of `turn`, else a cluster of voices inside the recording."""
    speaker_by: str | None = by("speaker")
    """The embedder: each has a scale of its own for the two cosines."""
    speaker_cosine_mean: float | None = by("speaker")
    """Of windows of the clip to the mean of all; None for a clip of one window."""
    speaker_cosine_min: float | None = by("speaker")
    """Of the window that is least like the mean of all; None for a clip of one window."""
    speaker_split_gain: float | None = by("speaker")
    """How far apart the voices on both sides of the best cut lie, less what one voice varies; 1 is too far for most."""
    xvector: tuple[float, ...] | None = by("speaker")
    """The voice by that embedder, a unit vector: the mean over the windows."""
    pitch_hz: float | None = by("caption")
    """Median of the voiced frames."""
    caption: str | None = by("caption")
    """How it sounds, in one or two English sentences."""
    caption_short: str | None = by("caption")
    """How it sounds, in a few English words."""
    caption_tags: tuple[str, ...] | None = by("caption")
    """`pitch:low`, `rate:fast` ...: aspect and word."""
    caption_by: str | None = by("caption")
    """The model's name, or `rules`, with the reason in brackets where an endpoint should have spoken."""
    caption_conflicts: tuple[str, ...] | None = by("caption")
    """What the caption says and the measures deny, a sentence each."""
    latents_by: str | None = by("latents")
    """Digest of the encoder (models.runtime.latents) whose latents go with the sample, where its shard has them."""
    latent_frames: int | None = by("latents")
    """How many frames of latents the sample has, 25 a second."""

    def having(self, facts: Mapping[str, Any]) -> "Segment":
        """The same segment with other facts: `dataclasses.replace`, which goes over all fields, takes 20 times as long.

        Raises: TypeError for what is no field.
        """
        unknown = facts.keys() - vars(self).keys()
        if unknown:
            raise TypeError(f"a segment has no {', '.join(sorted(unknown))}")
        made = object.__new__(Segment)
        vars(made).update(vars(self), **facts)
        return made

    @property
    def chars_per_second(self) -> float | None:
        """Speaking rate in written characters, spaces left out; None without text."""
        return None if self.text is None else len(self.text.replace(" ", "")) / self.seconds


def segment_key(recording_sha256: str, *, start_sample: int, end_sample: int) -> str:
    """Content-derived key of a segment: the same on every machine, never a dot or a slash in it."""
    text = f"{recording_sha256}:{start_sample}:{end_sample}"
    return hashlib.sha256(text.encode()).hexdigest()[:26]


OWNERS: Mapping[str, str | None] = {item.name: item.metadata.get("by") for item in fields(Segment)}
"""Field -> the transform that sets it; None for what every segment has."""
NAMES = tuple(OWNERS)
BLANK = {item.name: None if item.default is MISSING else item.default for item in fields(Segment)}
"""Field -> what it is where a row does not tell it."""
REQUIRED = {item.name for item in fields(Segment) if item.default is MISSING}
"""Fields that every row tells."""


def as_row(segment: Segment) -> dict[str, Any]:
    """The segment as plain data, in the order of its fields; `xvector` as a list of float32 values."""
    row = dict(vars(segment))
    if segment.xvector is not None:
        row["xvector"] = [float(value) for value in np.asarray(segment.xvector, dtype=np.float32)]
    return row


def segment_of(row: Mapping[str, Any]) -> Segment:
    """The segment in a row of the annotations or the index; other columns are left out.

    Field by field, since `Segment(**row)` takes ten times as long.

    Raises: TypeError where a field is missing that every segment has.
    """
    if not row.keys() >= REQUIRED:
        raise TypeError(f"a segment without {', '.join(sorted(REQUIRED - row.keys()))}")
    made = object.__new__(Segment)
    facts = vars(made)
    facts.update(BLANK)
    for name, value in row.items():
        if name in BLANK:
            facts[name] = tuple(value) if isinstance(value, list) else value
    return made


def score_owner(score: str) -> str | None:
    """The transform that sets the score (a field or property of Segment); None for what every segment has.

    Raises: ValueError where a segment has no such score.
    """
    field_of_score = "text" if score == "chars_per_second" else score
    if field_of_score not in OWNERS:
        raise ValueError(f"no score {score!r} in a segment")
    return OWNERS[field_of_score]
