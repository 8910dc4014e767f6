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

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infra.manifest import canonical
from infra.objects import Folder, Place, place_of
from pipelines.packing.index import PACK, CorpusError, Rows, index_name

if TYPE_CHECKING:
    from infra.buckets import Storage

__all__ = [
    "FORMAT",
    "PACK",
    "PLACE",
    "Corpus",
    "CorpusError",
    "Rows",
    "Sample",
    "card_digest",
    "index_name",
    "open_corpus",
    "version_of",
]

FORMAT = "stipple-corpus/2"
PLACE = ("shard", "flac_offset", "flac_bytes", "json_offset", "json_bytes", "tier")
"""Columns of the index beside those of the segment: the number of the shard, where the members' bytes lie, the tier."""
BLOCK = 512
"""What a tar is made of."""
KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""What a sample may be called: no dot and no slash, and its files fit into a ustar header."""
HARD_BYTES = 1280 * 2**20
"""No shard grows over this."""
MOST_FRAMES = 2**27
"""46 minutes at 48 kHz, half a gigabyte: a FLAC that says to be longer is no sample, and may be a bomb."""
SHA256 = re.compile(r"[0-9a-f]{64}")
AT = re.compile(r"[0-9a-f]{16}")


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
    """The index: the segment's fields, and those of PLACE."""

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
        import soundfile

        key, members = self.members(number)
        try:
            record = json.loads(bytes(members["json"]))
            wave_S, rate_hz = np.zeros(0, dtype=np.float32), record["rate_hz"]
            if wave:
                with soundfile.SoundFile(io.BytesIO(members["flac"])) as flac:
                    if flac.channels != 1 or flac.frames > MOST_FRAMES:
                        raise ValueError(f"its FLAC claims {flac.frames} samples in {flac.channels} channels")
                    wave_S, rate_hz = flac.read(dtype="float32"), flac.samplerate
            latents = array_in(members, "latent.npy", ndim=3)
            mean_FD, log_std_FD = (None, None) if latents is None else latents
            xvector_E = array_in(members, "spk.npy", ndim=1)
        except (soundfile.LibsndfileError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise self.damaged(number, f"sample {key} cannot be read ({error!s})") from None
        return Sample(key, wave_S, int(rate_hz), record, mean_FD, log_std_FD, xvector_E)

    def members(self, number: int) -> tuple[str, dict[str, memoryview]]:
        """The key of sample `number`, and the bytes of its files by their endings (`flac`, `json`): one read.

        Raises: CorpusError
        """
        shard, row = self.rows.where(number)
        offsets = self._offsets(shard)
        start, end = int(offsets[row]), int(offsets[row + 1])
        try:
            block = self.place.span(shard_path(shard), start, end)
        except OSError as error:
            raise CorpusError(f"{self.place}/{shard_path(shard)}: cannot be read ({reason(error)})") from None
        if len(block) < end - start:
            raise self.damaged(number, f"ends before the end of its sample {row}")
        keys, members = set(), {}
        try:
            for name, data in members_in(memoryview(block)):
                key, _, ending = name.partition(".")
                keys.add(key)
                members[ending] = data
            (key,) = keys
            if not KEY.fullmatch(key):
                raise ValueError(key)
        except ValueError:
            raise self.damaged(number, f"has no sample at byte {start}") from None
        return key, members

    def damaged(self, number: int, what: str) -> CorpusError:
        """The sentence for a shard that does not hold sample `number`."""
        shard, _ = self.rows.where(number)
        return CorpusError(f"{self.place}/{shard_path(shard)}: {what}; run `stipple corpus verify`")

    @cached_property
    def _offsets(self) -> Any:
        """Shard -> where its samples begin, and where the last one ends; a few hundred shards are remembered."""
        return lru_cache(512)(self._read_offsets)

    def _read_offsets(self, shard: int) -> NDArray[np.uint64]:
        name, count = f"{shard_path(shard)}.idx", self.rows.samples[shard] + 1
        try:
            data = self.place.read(name)
        except OSError as error:
            raise CorpusError(f"{self.place}/{name}: cannot be read ({reason(error)})") from None
        if len(data) != 8 * count:
            raise CorpusError(f"{self.place}/{name}: has {len(data)} bytes, but {count - 1} samples need {8 * count}")
        offsets = np.frombuffer(data, dtype="<u8")
        if (offsets[1:] <= offsets[:-1]).any() or offsets[-1] > HARD_BYTES:
            raise CorpusError(f"{self.place}/{name}: is damaged; run `stipple corpus verify`")
        return offsets


def shard_name(number: int) -> str:
    """Name of shard `number` under `shards/`."""
    return f"pack-{number // PACK:04d}/shard-{number:06d}.tar"


def shard_path(number: int) -> str:
    """Name of shard `number`, relative to the corpus."""
    return f"shards/{shard_name(number)}"


def members_in(block: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Name and content of every file in whole members of a tar; ends at its end, and nothing is ever unpacked.

    Raises: ValueError where it is not a plain tar of regular files.
    """
    at = 0
    while at + BLOCK <= len(block) and block[at] != 0:
        head = bytes(block[at : at + BLOCK])
        size = int(head[124:135], 8)
        plain = head[156:157] == b"0" and head[257:262] == b"ustar" and not head[345]
        if not plain or not 0 <= size <= len(block) - at - BLOCK:
            raise ValueError("not a member")
        yield head[:100].rstrip(b"\0").decode("ascii"), block[at + BLOCK : at + BLOCK + size]
        at += BLOCK + -(-size // BLOCK) * BLOCK


def array_in(members: Mapping[str, memoryview], name: str, *, ndim: int) -> NDArray[Any] | None:
    """The array in a member; None where there is no such member. Numbers only: nothing is unpickled.

    Raises: ValueError
    """
    if name not in members:
        return None
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(members[name]), allow_pickle=False)
    if array.ndim != ndim or array.dtype.kind != "f":
        raise ValueError(f"{name} has shape {array.shape} of {array.dtype}")
    return array


def index_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """sha256 over the canonical JSON of index rows, one line a row: what a shard's entry says of its rows."""
    state = sha256()
    for row in rows:
        state.update(canonical(row).encode() + b"\n")
    return state.hexdigest()


def corpus_digest(shards: Iterable[Mapping[str, Any]]) -> str:
    """The version of a corpus, 32 hex digits: sha256 over what the entries of its shards say of their rows."""
    state = sha256()
    for shard in shards:
        state.update(f"{shard['rows_sha256']}\n".encode())
    return state.hexdigest()[:32]


def reason(error: OSError) -> str:
    """Why a file cannot be read."""
    return error.strerror or str(error)


def read_card(root: str | Path | Place) -> dict[str, Any]:
    """corpus.json of the corpus in `root`. Shards are known by their number: no name in it becomes a path.

    Raises: CorpusError
    """
    place = place_of(root) if isinstance(root, str | Path) else root
    try:
        card = json.loads(place.read("corpus.json"))
    except (FileNotFoundError, NotADirectoryError):
        gone = isinstance(place, Folder) and not place.root.is_dir()
        what = "is not a folder" if gone else "has no corpus.json: not a corpus, or its build did not finish"
        if isinstance(place, Folder) and (place.root / "selection.json").is_file():
            what = "is a selection; name its corpus, or make a corpus of it (`stipple corpus compact`)"
        raise CorpusError(f"{place}: {what}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(f"{place}/corpus.json: cannot be read ({error})") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        was = card.get("format") if isinstance(card, dict) else None
        again = "; build it again" if str(was).startswith("stipple-corpus/") else ""
        raise CorpusError(f"{place}/corpus.json: not the card of a corpus in format {FORMAT}{again}")
    wrong = mistakes(card)
    if wrong:
        raise CorpusError(f"{place}/corpus.json: {wrong}")
    return card


def mistakes(card: Mapping[str, Any]) -> str | None:
    """What is wrong with a card, if anything is."""
    kinds = {"name": str, "digest": str, "samples": int, "hours": float, "licenses": list, "shards": list}
    for key, kind in kinds.items():
        if not isinstance(card.get(key), kind):
            return f"{key} should be a {kind.__name__}, but is {card.get(key)!r:.60}"
    if "at" in card and not (isinstance(card["at"], str) and AT.fullmatch(card["at"])):
        return f"`at` should be 16 hex digits, but is {card['at']!r:.60}"
    for number, shard in enumerate(card["shards"]):
        entry = shard if isinstance(shard, dict) else {}
        if entry.get("name") != shard_name(number):
            return f"shard {number} should be {shard_name(number)}, but is {entry.get('name')!r:.60}"
        hashes = (entry.get("sha256"), entry.get("index_sha256"), entry.get("rows_sha256"))
        if not all(isinstance(value, str) and SHA256.fullmatch(value) for value in hashes):
            return f"shard {number} has no hashes of its files"
        if not all(isinstance(entry.get(key), int) and entry[key] >= 0 for key in ("bytes", "samples")):
            return f"shard {number} does not say how many bytes and samples it has"
    if sum(shard["samples"] for shard in card["shards"]) != card["samples"]:
        return f"says {card['samples']} samples, but its shards have another number"
    return None


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
    from pipelines.policy.views import corpus_and_selection, seen

    place = place_of(root, storage) if isinstance(root, str | Path) else root
    if isinstance(place, Folder):
        folder, selection = corpus_and_selection(place.root, selection)
        place = Folder(folder)
    card = read_card(place)
    files = place.inside(card["at"]) if "at" in card else place
    rows = Rows(files, [shard["samples"] for shard in card["shards"]])
    licenses = tuple(map(str, card["licenses"]))
    corpus = Corpus(place=files, name=card["name"], digest=card["digest"], licenses=licenses, rows=rows)
    return corpus if whole else seen(corpus, place, selection=None if selection is None else Path(selection))


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
    from pipelines.policy.views import corpus_and_selection, version_in

    place = place_of(root, storage) if isinstance(root, str | Path) else root
    selection = None
    if isinstance(place, Folder):
        folder, selection = corpus_and_selection(place.root, None)
        place = Folder(folder)
    return version_in(place, digest=read_card(place)["digest"], selection=selection)
