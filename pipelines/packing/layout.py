"""Where the files of a corpus lie, what they are called and how large they get; pipelines/shards.py draws the whole."""

import re
from pathlib import Path

PACK = 1024
"""Shards whose files lie in one folder, and whose rows lie in one file: about 20 kB of memory a shard to open it, and
0.2 MB to write it."""
HARD_BYTES = 1280 * 2**20
"""No shard grows over this."""
KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""What a sample may be called: no dot and no slash, and its files fit into a ustar header."""


class CorpusError(ValueError):
    """A folder that is not a whole corpus. The message is a sentence for a person."""


def index_name(pack: int) -> str:
    """Name of the index of a pack, relative to the corpus."""
    return f"index/pack-{pack:04d}.parquet"


def shard_name(number: int) -> str:
    """Name of shard `number` under `shards/`."""
    return f"pack-{number // PACK:04d}/shard-{number:06d}.tar"


def shard_path(number: int) -> str:
    """Name of shard `number`, relative to the corpus."""
    return f"shards/{shard_name(number)}"


def offsets_name(number: int) -> str:
    """Name of the offsets of shard `number`, relative to the corpus."""
    return f"{shard_path(number)}.idx"


def expected_files(shards: int) -> set[str]:
    """Names of all files that belong to a corpus of so many shards, but for corpus.json."""
    packs = {index_name(pack) for pack in range(-(-shards // PACK))}
    return packs | {name(number) for number in range(shards) for name in (shard_path, offsets_name)}


def strays_in(root: Path, *, shards: int) -> list[str]:
    """Names of files in the folders of a corpus that do not belong to it, and of temporary ones beside them: what
    killed attempts have left, and shards of an earlier, larger plan."""
    inside = [path for folder in ("shards", "index") for path in (root / folder).rglob("*") if not path.is_dir()]
    found = {path.relative_to(root).as_posix() for path in [*inside, *root.glob("*.tmp"), *root.glob(".corpus.json.*")]}
    return sorted(found - expected_files(shards))
