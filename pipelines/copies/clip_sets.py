"""The clips that are compared with one another: of corpora, of selections, and of folders of sound files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.clip import Clip
from pipelines.copies.prints import Words, from_text
from pipelines.policy.views import corpus_and_selection
from pipelines.row import segment_of
from pipelines.shards import Corpus, open_corpus
from pipelines.transforms.fingerprint import Config, Transform

COLUMNS = ("key", "seconds", "recording", "bandwidth_hz", "rate_hz", "pcm_sha256", "audio_print")


@dataclass(frozen=True)
class ComparedClip:
    """What of a clip is compared."""

    name: str
    """Its key; of a sound file, the name."""
    recording: str
    seconds: float
    quality: tuple[float, float]
    """Bandwidth and duration: of two copies, the one with more is kept."""
    pcm_sha256: str
    words: Words


@dataclass(frozen=True)
class ClipSet:
    """The clips of a corpus, of a selection, or of a folder of sound files."""

    name: str
    """`name@digest` of a corpus, or the folder."""
    root: Path
    """Where the corpus lies, also of a selection; or the folder."""
    corpus: str | None
    """Name of the corpus; None for a folder of sound files."""
    clips: tuple[ComparedClip, ...]

    @property
    def hours(self) -> float:
        """Of all clips."""
        return sum(clip.seconds for clip in self.clips) / 3600


def clips_at(place: Path, *, say: Callable[[str], None]) -> ClipSet:
    """The clips of a corpus or selection (as readers see it), or of a folder of sound files.

    Raises: CorpusError, Refused
    """
    if any((place / card).is_file() for card in ("corpus.json", "selection.json")):
        return of_corpus(place, say=say)
    return of_folder(place, say=say)


def of_corpus(root: Path, *, say: Callable[[str], None]) -> ClipSet:
    """From the index, where the transform `fingerprint` has run; otherwise from the sound of each sample."""
    corpus = open_corpus(root)
    rows = corpus.rows.columns(*COLUMNS).to_pylist()
    without = [number for number, row in enumerate(rows) if row["audio_print"] is None]
    if without:
        say(f"{corpus.name}: decoding {len(without)} clips without a print; the transform `fingerprint` stores one")
    listen = Transform(Config())
    for number in without:
        rows[number] |= printed(corpus, number, listen)
    clips = tuple(
        ComparedClip(
            name=row["key"],
            recording=row["recording"],
            seconds=row["seconds"],
            quality=(row["bandwidth_hz"] or row["rate_hz"] / 2, row["seconds"]),
            pcm_sha256=row["pcm_sha256"],
            words=from_text(row["audio_print"]),
        )
        for row in rows
    )
    place, _ = corpus_and_selection(root, None)
    return ClipSet(f"{corpus.name}@{corpus.digest}", place, corpus.name, clips)


def printed(corpus: Corpus, number: int, listen: Transform) -> dict[str, str | None]:
    """Hash and print of a sample, by its sound."""
    sample = corpus.sample(number)
    clip = listen.one(Clip(segment_of({**corpus.rows[number], "rate_hz": sample.rate_hz}), sample.wave_S))
    return {"pcm_sha256": clip.segment.pcm_sha256, "audio_print": clip.segment.audio_print}


def of_folder(root: Path, *, say: Callable[[str], None]) -> ClipSet:
    """Whole sound files, as `probe` decodes them; those that it cannot are told, and left out.

    Raises: Refused where there is no sound file.
    """
    from pipelines.clip import Unusable
    from pipelines.readers import folder
    from pipelines.row import Segment
    from pipelines.transforms import probe

    decode, listen, clips = probe.Transform(probe.Config()), Transform(Config()), []
    for recording in folder.recordings(folder.Config(tables=False, text_beside=False), root):
        decoded = decode([recording])[0]
        if isinstance(decoded, Unusable):
            say(f"{recording.name}: left out ({decoded.reason})")
            continue
        size, rate_hz = len(decoded.wave_S), decoded.rate_hz
        segment = Segment(
            key=recording.name, corpus="", recording=recording.name, recording_sha256=decoded.recording.sha256 or "",
            license="", source="", start_sample=0, end_sample=size, rate_hz=rate_hz, channels=1, seconds=size / rate_hz,
        )  # fmt: skip
        told = listen.one(Clip(segment, decoded.wave_S)).segment
        words = from_text(told.audio_print or "")
        clips.append(
            ComparedClip(recording.name, recording.name, told.seconds, (0.0, 0.0), told.pcm_sha256 or "", words)
        )
    return ClipSet(str(root), root, None, tuple(clips))
