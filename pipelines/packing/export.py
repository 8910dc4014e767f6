"""A corpus as others read it: cuts for lhotse, its Shar, the metadata of Energon, the JSONL manifest of dots.tts.

webdataset and Hugging Face `datasets` need no export: see pipelines/README.md. What tombstones hide, or a selection
leaves out, is in no export.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from infra.manifest import canonical
from infra.objects import Folder
from infra.storage import replacing, write_json
from pipelines.packing.layout import shard_path
from pipelines.packing.tar import Tar
from pipelines.shards import Corpus, CorpusError

Row = Mapping[str, Any]


def lhotse(corpus: Corpus, out: Path) -> int:
    """`cuts.jsonl.gz`, whose recordings lie inside the shards (`shard.tar/<key>.flac`): nothing is copied.

    lhotse finds a member by reading the tar up to it: for training on large shards, `lhotse_shar` is the faster form.
    """
    root = on_disk(corpus)
    out.mkdir(parents=True, exist_ok=True)
    with lines(out / "cuts.jsonl.gz") as put:
        for row in corpus.rows:
            tar = (root / shard_path(row["shard"])).resolve()
            put(cut_of(row, {"type": "file", "channels": [0], "source": f"{tar}/{row['key']}.flac"}))
    return len(corpus)


def lhotse_shar(corpus: Corpus, out: Path) -> int:
    """`cuts.000000.jsonl.gz` and `recording.000000.tar` for each shard: `CutSet.from_shar(in_dir=...)` reads them.

    No offsets beside the tars: lhotse 1 takes every file there for a tar, and lhotse 2 makes its own.
    """
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    source = {"type": "shar", "channels": [0], "source": ""}
    for number, numbers in enumerate(by_shard(corpus)):
        with replacing(out / f"recording.{number:06d}.tar") as file, lines(out / f"cuts.{number:06d}.jsonl.gz") as put:
            tar = Tar(file)
            for sample in numbers:
                row, (key, members) = corpus.rows[sample], corpus.members(sample)
                cut = cut_of(row, source)
                tar.put(f"{key}.flac", bytes(members["flac"]))
                tar.put(f"{key}.json", canonical(cut["recording"]).encode())
                put(cut)
            tar.end()
        count += len(numbers)
    return count


def cut_of(row: Row, source: Mapping[str, Any]) -> dict[str, Any]:
    """A MonoCut over a whole sample, with one supervision; scores and provenance are its `custom` fields."""
    samples = row["end_sample"] - row["start_sample"]
    seconds, key = samples / row["rate_hz"], row["key"]
    told = ("key", "xvector", "seconds", "rate_hz", "language", "speaker", "text", "text_tts")
    supervision = {
        "id": key,
        "recording_id": key,
        "start": 0.0,
        "duration": seconds,
        "channel": 0,
        "text": row.get("text_tts") or row.get("text"),
        "language": row.get("language"),
        "speaker": row.get("speaker"),
        "custom": {name: value for name, value in row.items() if value is not None and name not in told},
    }
    recording = {
        "id": key,
        "sources": [dict(source)],
        "sampling_rate": row["rate_hz"],
        "num_samples": samples,
        "duration": seconds,
        "channel_ids": [0],
    }
    supervision = {name: value for name, value in supervision.items() if value is not None}
    whole = {"id": key, "start": 0.0, "duration": seconds, "channel": 0, "type": "MonoCut"}
    return {**whole, "supervisions": [supervision], "recording": recording}


def energon(corpus: Corpus, out: Path) -> int:
    """`.nv-meta/` for the shards, which get a link beside it; Energon reads them with our offset files, in place.

    Samples come as `CrudeWebdataset` (`__key__`, `flac`, `json`), to be cooked by the task encoder.
    """
    root = on_disk(corpus)
    out.mkdir(parents=True, exist_ok=True)
    link = out / "shards"
    if out.resolve() != root.resolve():
        link.unlink(missing_ok=True)
        link.symlink_to((root / "shards").resolve())
    names = [shard_path(number) for number in range(len(corpus.rows.samples))]
    write_json(out / ".nv-meta" / ".info.json", {"shard_counts": dict(zip(names, corpus.rows.samples, strict=True))})
    kept = set(corpus.rows.columns("key")["key"].to_pylist())
    hidden = [
        f"{names[row['shard']]}/{row['key']}"
        for row in corpus.rows.whole().columns("key", "shard").to_pylist()
        if row["key"] not in kept
    ]
    write_json(out / ".nv-meta" / "split.yaml", {"split_parts": {"train": names}, "exclude": hidden})
    write_json(out / ".nv-meta" / "dataset.yaml", {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"})
    return len(corpus)


def jsonl(corpus: Corpus, out: Path) -> int:
    """The training manifest of dots.tts: a line `{"fid", "text", "audio", ...}` a sample that has a text, and its FLAC
    as a file under `audio/`; other keys are carried along by its adapter."""
    out.mkdir(parents=True, exist_ok=True)
    told = ("language", "speaker", "seconds", "tier", "license", "recording")
    count = 0
    with replacing(out / "train.jsonl") as file:
        for number, row in enumerate(corpus.rows):
            text = row.get("text_tts") or row.get("text")
            if not text:
                continue
            key, members = corpus.members(number)
            audio = out / "audio" / key[:2] / f"{key}.flac"
            audio.parent.mkdir(parents=True, exist_ok=True)
            with replacing(audio) as flac:
                flac.write(members["flac"])
            facts = {name: row[name] for name in told if row.get(name) is not None}
            line = {"fid": key, "text": text, "audio": str(audio.resolve()), **facts}
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


WRITERS: Mapping[str, Callable[[Corpus, Path], int]] = {
    "lhotse": lhotse,
    "lhotse-shar": lhotse_shar,
    "energon": energon,
    "jsonl": jsonl,
}
"""Name -> what writes it into a folder, and returns the number of samples."""


def on_disk(corpus: Corpus) -> Path:
    """Where the shards lie.

    Raises: CorpusError where they are not on a disk.
    """
    if isinstance(corpus.place, Folder):
        return corpus.place.root
    raise CorpusError(f"{corpus.place}: this view names files on a disk; copy the corpus first, or take lhotse-shar")


def by_shard(corpus: Corpus) -> Iterator[list[int]]:
    """Numbers of the samples that are seen of each shard, where there are any."""
    group: list[int] = []
    before = -1
    for number in range(len(corpus)):
        shard, _ = corpus.rows.where(number)
        if shard != before and group:
            yield group
            group = []
        group.append(number)
        before = shard
    if group:
        yield group


@contextmanager
def lines(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A gzipped JSONL file, the same bytes for the same lines, whole or not at all; takes one line after another."""
    with replacing(path) as file, deterministic(file) as packed:

        def put(line: Mapping[str, Any]) -> None:
            packed.write(canonical(line).encode() + b"\n")

        yield put


def deterministic(file: IO[bytes]) -> gzip.GzipFile:
    """A gzip stream without a name and a time."""
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
