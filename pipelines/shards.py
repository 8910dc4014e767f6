"""THE CONTRACT between those who make data and those who use it: what a sample is, and how to read one.

A corpus, in a folder:
    corpus.json                           name, digest, licenses, hours, schema, one entry a shard; written last
    index/pack-0000.parquet               one row a sample: where it lies, and every score of its segment
    shards/pack-0000/shard-000000.tar     `<key>.flac` + `<key>.json` a sample, ustar, mtime 0, keys in order;
                                          where the manifest asks for them `<key>.latent.npy`, `<key>.spk.npy`
    shards/pack-0000/shard-000000.tar.idx where each sample begins in the tar, and where the last one ends: uint64,
                                          little-endian (what Energon reads, and lhotse in its own tars)
A pack has at most 1024 shards. The digest of the index is the version of the corpus: `name@digest`.
Published (pipelines/packing/publish.py), all but corpus.json lie in a folder that it names under `at`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infra.objects import Folder, Place, place_of
from pipelines.packing.corpus_json import read_card
from pipelines.packing.index import Rows
from pipelines.packing.layout import HARD_BYTES, KEY, CorpusError, offsets_name, shard_path
from pipelines.packing.members import SPK, array_in, wave_in
from pipelines.packing.tar import members_in

if TYPE_CHECKING:
    from infra.buckets import Storage

__all__ = ["Corpus", "CorpusError", "Rows", "Sample", "card_digest", "open_corpus", "read_card", "version_of"]


@dataclass(frozen=True)
class Sample:
    """One utterance out of a shard."""

    key: str
    wave_S: NDArray[np.float32]
    rate_hz: int
    record: dict[str, Any]
    """The segment (pipelines.row.Segment), as stored: `text_tts`, `text`, `language`, `speaker`, `seconds`, scores.

    `xvector` is None here and stands in the row of the index."""
    latent_FD: NDArray[Any] | None = None
    """Means of the AudioVAE's posterior, raw, of the waveform at 48 kHz in whole patches; None where the shard has no
    latents. `record["latents_by"]` says whose they are (models.runtime.latents)."""
    latent_log_std_FD: NDArray[Any] | None = None
    """Logs of its standard deviations."""
    xvector_E: NDArray[np.float32] | None = None
    """The voice, where the shard has it."""


@dataclass(frozen=True)
class Corpus:
    """An opened corpus: shards read by offset, one sample at a time, in any order; its index read when it is asked."""

    place: Place
    name: str
    digest: str
    licenses: Sequence[str]
    rows: Rows
    """The index: the segment's fields, and those of `pipelines.packing.index.PLACE`."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """Duration of every sample, in index order."""
        chunks = self.rows.columns("seconds")["seconds"].chunks
        return np.concatenate([np.from_dlpack(chunk) for chunk in chunks])  # `to_numpy` would import pandas

    def sample(self, number: int, *, wave: bool = True) -> Sample:
        """Read sample `number`: one positioned read, one FLAC decode. Without `wave`, which is then empty, no decode:
        for those who read latents.

        Raises: CorpusError when the shard is gone or does not hold what the index says.
        """
        key, members = self.members(number)
        try:
            record = json.loads(bytes(members["json"]))
            wave_S, rate_hz = np.zeros(0, np.float32), int(record["rate_hz"])
            if wave:
                wave_S, rate_hz = wave_in(members["flac"])
            latents = array_in(members, "latent", ndim=3)
            mean_FD, log_std_FD = (None, None) if latents is None else latents
            xvector_E = array_in(members, SPK, ndim=1)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise self.damaged(number, f"sample {key} cannot be read ({error!s})") from None
        return Sample(key, wave_S, rate_hz, record, mean_FD, log_std_FD, xvector_E)

    def members(self, number: int) -> tuple[str, dict[str, memoryview]]:
        """The key of sample `number`, and the bytes of its files by their endings (`flac`, `json`): one read.

        Raises: CorpusError
        """
        shard, row = self.rows.where(number)
        start, end = map(int, self._offsets(shard)[row : row + 2])
        block = self._bytes(shard_path(shard), start, end)
        if len(block) < end - start:
            raise self.damaged(number, f"ends before the end of its sample {row}")
        try:
            files = [(*name.partition(".")[::2], data) for name, data in members_in(memoryview(block))]
            (key,) = {key for key, _, _ in files}
        except ValueError:
            key = ""
        if not KEY.fullmatch(key):
            raise self.damaged(number, f"has no sample at byte {start}")
        return key, {ending: data for _, ending, data in files}

    def damaged(self, number: int, what: str) -> CorpusError:
        """The sentence for a shard that does not hold sample `number`."""
        shard, _ = self.rows.where(number)
        return CorpusError(f"{self.place}/{shard_path(shard)}: {what}; run `stipple corpus verify`")

    @cached_property
    def _offsets(self) -> Callable[[int], NDArray[np.uint64]]:
        """Shard -> where its samples begin, and where the last one ends; a few hundred shards are remembered."""
        return lru_cache(512)(self._read_offsets)

    def _read_offsets(self, shard: int) -> NDArray[np.uint64]:
        name, samples = offsets_name(shard), self.rows.samples[shard]
        data, size = self._bytes(name), 8 * (samples + 1)
        if len(data) != size:
            raise CorpusError(f"{self.place}/{name}: has {len(data)} bytes, but {samples} samples need {size}")
        offsets = np.frombuffer(data, dtype="<u8")
        if (offsets[1:] <= offsets[:-1]).any() or offsets[-1] > HARD_BYTES:
            raise CorpusError(f"{self.place}/{name}: is damaged; run `stipple corpus verify`")
        return offsets

    def _bytes(self, name: str, *span: int) -> bytes:
        """A file of the corpus, or its bytes from `start` to `end`, where these are named."""
        try:
            return self.place.span(name, *span) if span else self.place.read(name)
        except OSError as error:
            raise CorpusError(f"{self.place}/{name}: cannot be read ({error.strerror or error})") from None


def open_corpus(
    root: str | Path | Place,
    *,
    selection: str | Path | None = None,
    whole: bool = False,
    storage: "Storage | None" = None,
) -> Corpus:
    """Open the corpus in `root`, or what a selection names of it; `root` may be a selection itself, or the URL of a
    published corpus in an object store, which `storage` says how to reach.

    Reads its card, and no row of its index. Samples that a tombstone hides are not in it, unless it is asked for as a
    `whole`.

    Raises: CorpusError when it is not a finished corpus.
    """
    from pipelines.policy.views import seen

    place, selection = located(root, selection=selection, storage=storage)
    card = read_card(place)
    files = place.inside(card["at"]) if "at" in card else place
    rows = Rows(files, [shard["samples"] for shard in card["shards"]])
    licenses = tuple(map(str, card["licenses"]))
    corpus = Corpus(place=files, name=card["name"], digest=card["digest"], licenses=licenses, rows=rows)
    return corpus if whole else seen(corpus, place, selection=selection)


def card_digest(root: str | Path | Place) -> str:
    """What the card of the corpus, or of the selection, in `root` says of it, whatever tombstones hide.

    Raises: CorpusError
    """
    from pipelines.policy.views import CARD, selection_card

    if isinstance(root, str | Path) and (Path(root) / CARD).is_file():
        return str(selection_card(Path(root))["digest"])
    return str(read_card(root)["digest"])


def version_of(root: str | Path | Place, *, storage: "Storage | None" = None) -> str:
    """What `open_corpus` shows of `root`, as 32 hex digits that change with the corpus, the selection, and what
    tombstones hide. No row of the index is read.

    Raises: CorpusError
    """
    from pipelines.policy.views import version_in

    place, selection = located(root, storage=storage)
    return version_in(place, digest=read_card(place)["digest"], selection=selection)


def located(
    root: str | Path | Place, *, selection: str | Path | None = None, storage: "Storage | None" = None
) -> tuple[Place, Path | None]:
    """Where the corpus lies, and the selection of it, if any, which `root` may be itself.

    Raises: CorpusError
    """
    from pipelines.policy.views import corpus_and_selection

    place = place_of(root, storage) if isinstance(root, str | Path) else root
    if not isinstance(place, Folder):
        return place, None if selection is None else Path(selection)
    folder, chosen = corpus_and_selection(place.root, selection)
    return Folder(folder), chosen
