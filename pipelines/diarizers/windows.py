"""3D-Speaker's recipe: speech in windows of 1.5 s, embedded and clustered; overlap where the segmentation hears it.

Frames of speech are those that pyannote's segmentation and Silero, averaged, take for it: alone, the first hears voices
in music, and the second misses what is far from the microphone. Windows reach neither across pauses nor across changes
of voice that the segmentation hears.
"""

import numpy as np
from numpy.typing import NDArray

from models.frozen import Wave
from models.frozen.pyannote import CHUNK, CLASSES, FIELD, FRAMES, STEP, Segmentation
from models.frozen.silero import FRAME as SILERO_FRAME
from models.frozen.silero import Silero
from pipelines.diarizers import DiarizerConfig
from pipelines.hearing.clustering import Vectors, voices_of
from pipelines.hearing.embedders import Embedder, embedder_of
from pipelines.hearing.voices import FRAME, FRAME_SECONDS, Activity, Spoken, bridged, hysteresis, runs

HOP = CHUNK // 2
OVERLAP = 0.35
"""Probability of two voices from which there are two: none was heard in single LibriSpeech clips, even at 0.25."""
SPAN = CHUNK // FRAME
"""Frames of 10 ms in a chunk of the segmentation."""
GAP, SHORTEST = 20, 20
"""Pauses that are bridged, and what is too short to be speech, in frames of 10 ms."""
WINDOW, WINDOW_HOP = 150, 75
PIECE = 30
"""Frames of the shortest piece that a change of voice may leave."""
REACH = 25
"""Frames before and after a moment whose voices are compared to find a change."""
NEARBY = 300
"""Frames in which the second of two voices at once is looked for."""
VOICES = np.array([[voice in members for voice in range(3)] for members in CLASSES], dtype=np.float32)
"""Which of a chunk's three voices speak in each class."""
NEAREST = np.clip(np.round(((np.arange(SPAN) + 0.5) * FRAME - FIELD / 2) / STEP), 0, FRAMES - 1).astype(int)
"""The segmentation's frame nearest to each of 10 ms."""


class Windows:
    """See the file."""

    def __init__(self, cfg: DiarizerConfig) -> None:
        self.cfg = cfg
        self.segmentation = Segmentation(cfg.segmentation, device=cfg.device)
        self.vad, self.model = Silero(), embedder_of(cfg)

    @property
    def fingerprint(self) -> str:
        """Of the networks."""
        return "+".join(part.fingerprint for part in (self.segmentation, self.vad, self.model))

    def __call__(self, wave_S: Wave) -> Spoken | None:
        """See `Diarizer`."""
        classes_CFK = self.segmentation.chunks(wave_S, hop=HOP)[:, NEAREST]
        speech_F, overlap_F = heard(
            self.vad.probabilities(wave_S), classes_CFK, frames=-(-len(wave_S) // FRAME), cfg=self.cfg
        )
        if not speech_F.any():
            return None
        changes = changes_in(classes_CFK, frames=len(speech_F))
        spoken = assigned(wave_S, speech_F, changes=changes, model=self.model, cfg=self.cfg)
        if spoken.active_FV.shape[1] > 1:
            add_second(spoken.active_FV, overlap_F)
        return spoken


def assigned(wave_S: Wave, speech_F: Activity, *, changes: list[int], model: Embedder, cfg: DiarizerConfig) -> Spoken:
    """Frames of speech (there are some), each with the voice of the window nearest to it."""
    pieces = [piece for run in runs(speech_F) for piece in pieces_of(run, changes)]
    windows = np.array([window for piece in pieces for window in windows_of(*piece)])
    vectors: Vectors = np.stack(model([wave_S[start * FRAME : end * FRAME] for start, end in windows]))
    seconds = (windows[:, 1] - windows[:, 0]) * FRAME_SECONDS
    labels, centroids = voices_of(
        vectors, seconds=seconds, split=model.SPLIT, method=cfg.clustering, most=cfg.max_voices
    )
    active_FV = np.zeros((len(speech_F), len(centroids)), dtype=bool)
    active_FV[np.flatnonzero(speech_F), nearest(windows, np.array(labels), pieces)] = True
    return Spoken(active_FV, centroids)


def heard(
    silero: NDArray[np.float32], classes_CFK: NDArray[np.float32], *, frames: int, cfg: DiarizerConfig
) -> tuple[Activity, Activity]:
    """Frames of 10 ms in which somebody speaks, and those in which two do."""
    somebody_F = averaged(1 - classes_CFK[:, :, :1], frames=frames)[:, 0]
    two_F = averaged(classes_CFK[:, :, 4:].sum(axis=2, keepdims=True), frames=frames)[:, 0]
    at = np.minimum(((np.arange(frames) + 0.5) * FRAME / SILERO_FRAME).astype(int), len(silero) - 1)
    speech_F = hysteresis((somebody_F + silero[at]) / 2, onset=cfg.onset, offset=cfg.offset)
    speech_F = bridged(speech_F, gap=GAP, shortest=SHORTEST)
    return speech_F, speech_F & (two_F >= OVERLAP)


def averaged(values_CFN: NDArray[np.float32], *, frames: int) -> NDArray[np.float32]:
    """Chunks laid over each other, their middles weighing most: (frames, N)."""
    weight_F = np.hamming(SPAN).astype(np.float32)
    hop = HOP // FRAME
    total = np.zeros((hop * (len(values_CFN) - 1) + SPAN, values_CFN.shape[2]), dtype=np.float32)
    weights = np.zeros(len(total), dtype=np.float32)
    for chunk, values_FN in enumerate(values_CFN):
        place = slice(chunk * hop, chunk * hop + SPAN)
        total[place] += weight_F[:, None] * values_FN
        weights[place] += weight_F
    return np.asarray((total / weights[:, None])[:frames], dtype=np.float32)


def changes_in(classes_CFK: NDArray[np.float32], *, frames: int) -> list[int]:
    """Frames at which the segmentation hears another voice go on, in the middle of the time in which it does."""
    likely_CF3 = classes_CFK @ VOICES
    before, after = likely_CF3[:, : -2 * REACH], likely_CF3[:, 2 * REACH :]
    lengths = np.linalg.norm(before, axis=2), np.linalg.norm(after, axis=2)
    cosines = (before * after).sum(axis=2) / np.maximum(lengths[0] * lengths[1], 1e-3)
    other_CF = np.zeros(likely_CF3.shape[:2], dtype=np.float32)
    other_CF[:, REACH:-REACH] = np.where(np.minimum(*lengths) > 0.5, 1 - cosines, 0)
    other_F = averaged(other_CF[:, :, None], frames=frames)[:, 0]
    return [int(start + end) // 2 for start, end in runs(other_F > 0.5)]


def pieces_of(run: NDArray[np.int64], changes: list[int]) -> list[tuple[int, int]]:
    """A run of speech, cut at the changes inside it."""
    edges = [int(run[0])]
    for frame in changes:
        if frame - edges[-1] >= PIECE and run[1] - frame >= PIECE:
            edges.append(frame)
    return list(zip(edges, [*edges[1:], int(run[1])], strict=True))


def windows_of(begin: int, end: int) -> list[tuple[int, int]]:
    """Windows over a piece; the last one ends where it does, and a short piece is one window."""
    last = max(begin, end - WINDOW)
    return [(start, min(start + WINDOW, end)) for start in sorted({*range(begin, last + 1, WINDOW_HOP), last})]


def nearest(windows: NDArray[np.int64], labels: NDArray[np.int64], pieces: list[tuple[int, int]]) -> NDArray[np.int64]:
    """The label of the window whose middle is nearest, for each frame of the pieces, one piece after another."""
    found, first = [], 0
    for begin, end in pieces:
        count = len(windows_of(begin, end))
        middles = windows[first : first + count].mean(axis=1)
        distances = np.abs(np.arange(begin, end)[:, None] + 0.5 - middles)
        found.append(labels[first + distances.argmin(axis=1)])
        first += count
    return np.concatenate(found)


def add_second(active_FV: Activity, overlap_F: Activity) -> None:
    """Where two speak, the second is the one of the others that speaks most in the seconds around."""
    first_F = active_FV.argmax(axis=1)
    before = active_FV.copy()
    for start, end in runs(overlap_F):
        around = before[max(0, start - NEARBY) : end + NEARBY].sum(axis=0)
        around[np.bincount(first_F[start:end]).argmax()] = -1
        active_FV[start:end, around.argmax()] = True


def diarizer(cfg: DiarizerConfig) -> Windows:
    """The diarizer of this file."""
    return Windows(cfg)
