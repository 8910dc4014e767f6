"""Files of others run no code and leave no root: nothing in our source could, and hostile corpora do not."""

import ast
import io
import json
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import soundfile
import torch
from pyarrow import parquet

from infra.buckets import StorageError
from infra.manifest import ManifestError, load
from infra.objects import place_of
from infra.storage import ROOT
from models.frozen import WeightsError
from models.frozen.tensors import read_tensors
from models.runtime.files import BundleError, read_stats
from pipelines.manifest import CorpusManifest
from pipelines.packing.export import jsonl
from pipelines.packing.layout import index_name
from pipelines.packing.tar import members_in
from pipelines.shards import CorpusError, open_corpus
from tests.pipelines.packable import SHARD, build, items
from tests.processes import PATIENCE_SECONDS

PACKAGES = ("models", "infra", "pipelines", "training")
ALLOWED = {
    (
        "training/checkpoint.py",
        "torch.load without weights_only=True",
    ): "state of our own runs, hashed when it was saved",
    (
        "models/frozen/hyperpyyaml.py",
        "yaml.load()",
    ): "a subclass of SafeLoader that keeps unknown tags as data; see tests/models/frozen/test_hyperpyyaml.py",
}
MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle")


def mistakes(source: str) -> Iterator[str]:
    """What a source file does that could run the code of others, or write where they like."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rsplit(".", 1)[-1]
        words = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in ("eval", "exec", "__import__", "compile", "os.system", "os.popen"):
            yield f"{name}()"
        if name.split(".")[0] in MODULES and last in ("load", "loads", "Unpickler", "open"):
            yield f"{name}()"
        if last == "read_pickle" or (name.startswith("yaml.") and last in ("load", "unsafe_load", "full_load")):
            yield f"{name}()"
        if name == "torch.load" and words.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        if words.get("allow_pickle") == "True" or words.get("trust_remote_code") == "True":
            yield f"{name} with leave to run code"
        if words.get("shell", "False") != "False":
            yield f"{name} through a shell"
        if last in ("extractall", "extract", "unpack_archive"):
            yield f"{name}() of an archive"
        if last == "from_pretrained" and words.get("local_files_only") != "True":
            yield f"{name} without local_files_only=True"
        if last in ("WebDataset", "gopen"):
            yield f"{name}(), which runs pipe: URLs"


def test_nothing_in_our_source_runs_code_out_of_files() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), mistake)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for mistake in mistakes(path.read_text(encoding="utf-8"))
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "exec(text)",
        "pickle.load(file)",
        "joblib.load(path)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "tar.extractall(folder)",
        "AutoModel.from_pretrained(name)",
        "AutoModel.from_pretrained(name, local_files_only=True, trust_remote_code=True)",
        "webdataset.WebDataset(urls)",
    ],
)
def test_search_of_the_source_finds_what_it_is_for(line: str) -> None:
    assert list(mistakes(line))


class Canary:
    """Unpickling it writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.file,))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "canary"
    yield file
    assert not file.exists(), "code out of a file was run"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    build(tmp_path / "toy", items(tmp_path, 3))
    return tmp_path / "toy"


def rewritten(corpus: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """Another tar in the place of the first shard, with one sample that is all of it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        end = tar.offset
    (corpus / SHARD).write_bytes(file.getvalue())
    (corpus / f"{SHARD}.idx").write_bytes(np.array([0, end, end + 1, end + 2], dtype="<u8").tobytes())


def member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


@pytest.mark.parametrize(
    "members",
    [
        [("../../evil.flac", tarfile.REGTYPE, "")],
        [("/etc/evil.flac", tarfile.REGTYPE, "")],
        [("evil/../../x.flac", tarfile.REGTYPE, "")],
        [("abcdefgh.flac", tarfile.SYMTYPE, "/etc/passwd")],
        [("abcdefgh.flac", tarfile.LNKTYPE, "/etc/passwd")],
        [("abcdefgh.flac", tarfile.CHRTYPE, "")],
        [("abcdefgh.flac", tarfile.FIFOTYPE, "")],
        [("abcdefgh.flac", tarfile.DIRTYPE, "")],
        [("abcdefgh.flac", tarfile.REGTYPE, ""), ("other.json", tarfile.REGTYPE, "")],
        [("pipe:touch x.flac", tarfile.REGTYPE, "")],
        [("x" * 120 + ".flac", tarfile.REGTYPE, "")],
    ],
)
def test_member_that_is_no_plain_file_of_a_sample_is_refused(
    corpus: Path, tmp_path: Path, members: list[tuple[str, bytes, str]]
) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, link in members:
            tar.addfile(member(name, kind=kind, link=link))
        end = tar.offset
    (corpus / SHARD).write_bytes(file.getvalue())
    (corpus / f"{SHARD}.idx").write_bytes(np.array([0, end, end + 1, end + 2], dtype="<u8").tobytes())
    with pytest.raises(CorpusError, match="has no sample at byte 0"):
        open_corpus(corpus).sample(0)
    with pytest.raises(CorpusError):
        jsonl(open_corpus(corpus), tmp_path / "out")
    assert not list(tmp_path.rglob("*evil*"))


def test_pickled_member_is_not_unpickled(corpus: Path, canary: Path) -> None:
    flac, record = (bytes(data) for data in open_corpus(corpus).members(0)[1].values())
    npy = io.BytesIO()
    np.save(npy, np.array([Canary(canary)], dtype=object), allow_pickle=True)
    parts = [("flac", flac), ("json", record), ("latent.npy", npy.getvalue())]
    rewritten(corpus, [(member(f"abcdefgh.{name}"), data) for name, data in parts])
    with pytest.raises(CorpusError, match="cannot be read"):
        open_corpus(corpus).sample(0)
    parts = [*parts[:2], ("pkl", pickle.dumps(Canary(canary))), ("pyd", pickle.dumps(Canary(canary)))]
    rewritten(corpus, [(member(f"abcdefgh.{name}"), data) for name, data in parts])
    assert open_corpus(corpus).sample(0).rate_hz == 16000


def test_bombs_are_refused_before_they_go_off(corpus: Path) -> None:
    flac, record = (bytes(data) for data in open_corpus(corpus).members(0)[1].values())
    claimed = bytearray(flac)
    claimed[21:26] = bytes([claimed[21] | 0x0F]) + b"\xff\xff\xff\xff"
    assert soundfile.info(io.BytesIO(bytes(claimed))).frames > 2**35
    rewritten(corpus, [(member("abcdefgh.flac"), bytes(claimed)), (member("abcdefgh.json"), record)])
    with pytest.raises(CorpusError, match="its FLAC claims"):
        open_corpus(corpus).sample(0)
    rewritten(corpus, [(member("abcdefgh.flac"), flac), (member("abcdefgh.json"), b"[" * 200_000)])
    with pytest.raises(CorpusError, match="cannot be read"):
        open_corpus(corpus).sample(0)
    for offsets in ([0, 2**62, 2**62 + 1, 2**62 + 2], [5, 4, 3, 2], [2**64 - 1, 0, 1, 2]):
        (corpus / f"{SHARD}.idx").write_bytes(np.array(offsets, dtype="<u8").tobytes())
        with pytest.raises(CorpusError, match="is damaged"):
            open_corpus(corpus).sample(0)


@pytest.mark.parametrize("record", [b"[1]", b"3", b'"rate_hz"', b"null", b"{}", b'{"rate_hz": 1e999}'])
@pytest.mark.parametrize("wave", [True, False])
def test_record_that_is_no_table_with_a_rate_is_refused(corpus: Path, record: bytes, wave: bool) -> None:
    flac = bytes(open_corpus(corpus).members(0)[1]["flac"])
    rewritten(corpus, [(member("abcdefgh.flac"), flac), (member("abcdefgh.json"), record)])
    with pytest.raises(CorpusError, match="cannot be read"):
        open_corpus(corpus).sample(0, wave=wave)


@pytest.mark.parametrize("size", [b"-0000001000", b"77777777777", b"0x100000000", b"           "])
def test_size_that_leads_out_of_the_sample_is_refused(size: bytes) -> None:
    head = bytearray(tarfile.TarInfo("abcdefgh.flac").tobuf(tarfile.USTAR_FORMAT))
    head[124:135] = size
    with pytest.raises(ValueError, match=r"not a member|invalid literal"):
        list(members_in(memoryview(bytes(head) * 4)))


@pytest.mark.parametrize(
    "change",
    [
        {"shards": {"name": "../../etc/passwd"}},
        {"shards": {"name": "/etc/passwd"}},
        {"shards": {"name": "pipe:touch canary"}},
        {"shards": {"sha256": "../x"}},
        {"shards": {"samples": -1}},
        {"shards": {"bytes": "many"}},
        {"at": "../../../etc"},
        {"at": "/etc"},
        {"samples": 10**9},
        {"licenses": None},
    ],
)
def test_card_that_names_other_places_is_refused(corpus: Path, change: dict[str, Any]) -> None:
    card = json.loads((corpus / "corpus.json").read_text())
    inside = change.pop("shards", {})
    card["shards"] = [{**card["shards"][0], **inside}]
    (corpus / "corpus.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(CorpusError, match="corpus.json: "):
        open_corpus(corpus)


def test_card_that_is_nested_without_end_is_refused(corpus: Path) -> None:
    (corpus / "corpus.json").write_text("[" * 200_000)
    with pytest.raises(CorpusError, match="cannot be read"):
        open_corpus(corpus)


def test_index_with_a_pickled_type_is_not_unpickled(corpus: Path, canary: Path) -> None:
    table = parquet.read_table(corpus / index_name(0))
    evil = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    evil[b"ARROW:extension:metadata"] = pickle.dumps(Canary(canary))
    field = pyarrow.field("text", pyarrow.string(), metadata=evil)
    at = table.column_names.index("text")
    table = table.cast(table.schema.set(at, field))
    parquet.write_table(table, corpus / index_name(0))
    opened = open_corpus(corpus)
    assert len(opened.rows[0]) > 5
    assert opened.rows.columns("text").num_rows == 3


WATCH = """
import sys
seen = []
def hook(event, args):
    if event == "open" or event.startswith(("os.system", "os.exec", "os.posix", "subprocess", "os.fork", "socket")):
        seen.append((event, str(args[0]) if args else ""))
from pipelines.shards import open_corpus
corpus = open_corpus(sys.argv[1])
corpus.sample(0), corpus.rows[0], corpus.seconds
sys.addaudithook(hook)
corpus = open_corpus(sys.argv[1])
corpus.sample(2), corpus.rows[1], corpus.seconds
print("\\n".join(f"{event} {what}" for event, what in seen))
"""


def test_reading_opens_files_of_the_corpus_and_starts_nothing(corpus: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", WATCH, str(corpus)]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    ).stdout.splitlines()
    assert told
    assert all(line.startswith(f"open {corpus}") for line in told), told


@pytest.mark.parametrize("where", ["pipe://touch x", "file:///etc", "http://127.0.0.1:9/x", "memory:///", "ftp://x/y"])
def test_url_that_is_no_store_is_refused(where: str) -> None:
    with pytest.raises(StorageError, match="not the URL of a store"):
        place_of(where).read("passwd")


def test_manifest_with_yaml_tags_runs_nothing(tmp_path: Path, canary: Path) -> None:
    evil = tmp_path / "evil.yaml"
    evil.write_text(f"name: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{canary}']]")
    with pytest.raises(ManifestError, match="not YAML"):
        load(CorpusManifest, evil)


def test_pickled_weights_are_not_unpickled(tmp_path: Path, canary: Path) -> None:
    for name in ("latent_stats.pt", "weights.pt"):
        torch.save(Canary(canary), tmp_path / name)
    with pytest.raises(BundleError, match="holds more than tensors"):
        read_stats(tmp_path / "latent_stats.pt", width=8)
    with pytest.raises(WeightsError):
        read_tensors(tmp_path / "weights.pt", fix="")
