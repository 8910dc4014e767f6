"""From shards that are done to a corpus: the index, corpus.json, and nothing else in its folders."""

import shutil
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from infra.storage import replacing, sync_folder, write_json
from pipelines.packing.corpus_json import FORMAT, corpus_digest
from pipelines.packing.layout import PACK, index_name, shard_name, strays_in
from pipelines.packing.parts import PARTS, index_schema, part_path
from pipelines.policy.licenses import join
from pipelines.row import SCHEMA

PACKED: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
"""Of the index: a quarter smaller without dictionaries, and the footer of a pack stays small without statistics."""

Entry = Mapping[str, Any]
"""What corpus.json says of a shard."""


def finish(root: Path, *, name: str, shards: Iterable[Entry], facts: Mapping[str, Any]) -> str:
    """Write the index, pack by pack, then corpus.json, which makes the folder a corpus. Returns the digest.

    `shards`: the entries that `write_shard` returned, in order; they are taken one by one, and no rows are held but
    those of one shard. `facts` go into corpus.json. What is left over from earlier attempts is removed.
    """
    entries = write_index(root, shards)
    for stray in strays_in(root, shards=len(entries)):
        (root / stray).unlink(missing_ok=True)
    digest = corpus_digest(entries)
    licenses = sorted({word for entry in entries for word in entry["licenses"]})
    card = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": name,
        "digest": digest,
        "samples": sum(entry["samples"] for entry in entries),
        "hours": sum(entry["seconds"] for entry in entries) / 3600,
        "licenses": licenses,
        "terms": sorted(join(licenses)),
        "languages": sorted({word for entry in entries for word in entry["languages"]}),
        **facts,
        "shards": entries,
    }
    write_json(root / "corpus.json", card)
    shutil.rmtree(root / PARTS)
    return digest


def write_index(root: Path, shards: Iterable[Entry]) -> list[Entry]:
    """Move the rows of the shards from `parts/` into the index: a file a pack, a row group a shard. Returns the
    entries."""
    from pyarrow import parquet

    (root / index_name(0)).parent.mkdir(parents=True, exist_ok=True)
    entries: list[Entry] = []
    numbered = enumerate(shards)
    for start, first in numbered:
        pack = chain([(start, first)], islice(numbered, PACK - 1))
        with (
            replacing(root / index_name(start // PACK)) as file,
            parquet.ParquetWriter(file, index_schema(), **PACKED) as writer,
        ):
            for number, entry in pack:
                assert entry["name"] == shard_name(number), f"{entry['name']} where shard {number} should come"
                writer.write_table(parquet.read_table(part_path(root, number)).replace_schema_metadata(None))
                entries.append(dict(sorted(entry.items())))
    sync_folder(root / "index")
    return entries
