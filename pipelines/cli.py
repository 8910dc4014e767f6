"""`stipple corpus ...`: plan, build, and look into corpora."""

import argparse
import importlib
import json
import pkgutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.settings import add_set, settings_of
from infra.storage import ROOT
from pipelines import verbs

if TYPE_CHECKING:
    from pipelines.manifest import CorpusManifest
    from pipelines.row import Recording
    from pipelines.units import Unit

SUMMARY = "build and inspect corpora"
VERBS = {item.name: f"{verbs.__name__}.{item.name}" for item in pkgutil.iter_modules(verbs.__path__)}
"""Verb -> its module: `SUMMARY`, `add_arguments(parser)` and `main(args)`, as a command of `infra.cli` has them."""
CATALOG = ROOT / "manifests" / "recordings" / "folder.yaml"
"""What is said of the recordings of a bare folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs."""
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, told in (
        ("plan", "say what `build` would do: recordings, hours, units, transforms"),
        ("build", "build a corpus from recordings, or go on with it"),
    ):
        sub = commands.add_parser(verb, help=told, description=told)
        sub.add_argument("manifest", type=Path, help="a manifest in manifests/corpora/")
        sub.add_argument(
            "--recordings", type=Path, required=True, metavar="FOLDER", help="a folder of recordings, or a catalog"
        )
        add_set(sub)
        if verb == "plan":
            told = "run the chain on a sample (of N recordings), and say what to expect of all: hours, time, disk"
            sub.add_argument("--sample", type=natural, metavar="N", nargs="?", const=0, help=told)
        else:
            sub.add_argument("--force", action="store_true", help="build it again; the old one is kept")
    for verb, told in (
        ("stats", "print the funnel: hours in, kept, dropped, failed, and why"),
        ("peek", "print a few samples, or a few of those that were dropped"),
        ("verify", "prove that every byte is as it was written"),
    ):
        sub = commands.add_parser(verb, help=told, description=told)
        sub.add_argument("corpus", help="a folder with corpus.json, or the name of a corpus in the store")
        if verb == "stats":
            sub.add_argument("--json", action="store_true", help="print funnel.json as it is")
        if verb == "peek":
            sub.add_argument("--count", type=int, default=10, metavar="N", help="how many (default 10)")
            sub.add_argument(
                "--dropped", metavar="REASON", nargs="?", const="", help="those dropped or failed, and why"
            )
    for verb, place in VERBS.items():
        module = importlib.import_module(place)
        module.add_arguments(commands.add_parser(verb, help=module.SUMMARY, description=module.SUMMARY))


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 done, 1 failed, or damage was found."""
    if args.verb in VERBS:
        return int(importlib.import_module(VERBS[args.verb]).main(args))
    own = {"plan": run_plan, "build": run_build, "stats": run_stats, "peek": run_peek, "verify": run_verify}
    return own[args.verb](args)


def run_plan(args: argparse.Namespace) -> int:
    """What there is, and what would be done with it; nothing is decoded but a few headers."""
    import numpy as np

    from infra.log import say
    from infra.manifest import load
    from infra.workflow.single import STORE
    from pipelines.forecast.prediction import predict
    from pipelines.forecast.sampling import lengths
    from pipelines.funnel import duration
    from pipelines.manifest import CorpusManifest
    from pipelines.recordings import amiss_in
    from pipelines.units import plan_units, prepared

    manifest = load(CorpusManifest, args.manifest, settings_of(args.set))
    found = prepared(recordings_at(args.recordings, manifest), manifest=manifest)
    units = plan_units(found, limits=manifest.units)
    languages = Counter(recording.language or "unknown" for recording in found)
    licenses = Counter(recording.license for recording in found)
    known = lengths(found, random=np.random.default_rng(0))
    hours, exact = float(known.seconds.sum()) / 3600, known.read == len(found)
    megabytes = sum(recording.bytes for recording in found) / 1e6
    print(f"recordings   {len(found)}, {megabytes:,.1f} MB, {'' if exact else 'about '}{duration(hours)}")
    print(f"with text    {sum(recording.text is not None for recording in found)}")
    for line in amiss_in(found).told():
        print(f"amiss        {line}")
    print(f"languages    {counted(languages)}")
    print(f"licenses     {counted(licenses)}")
    print(f"units        {len(units)}, of at most {manifest.units.max_mb:g} MB")
    for line in work_to_do(manifest, units):
        print(line)
    print(f"keep         {', '.join(entry.name for entry in manifest.keep) or 'everything'}")
    print(f"tiers        {', '.join(manifest.tiers) or 'one: all'}")
    if args.sample is not None:
        print(predict(manifest, found, store=STORE, most=args.sample or None, say=say))
    return 0


def work_to_do(manifest: "CorpusManifest", units: "Sequence[Unit]") -> "Iterator[str]":
    """What is taken over from earlier builds of this corpus in the store, and why each transform has to run."""
    from infra.workflow.single import STORE
    from pipelines.build import made_chain
    from pipelines.reuse import earlier_results, forecast, unseen

    chain = made_chain(manifest)
    works = sorted((STORE / node_name(manifest)).glob("*/work"))
    earlier = earlier_results(chain.steps, (unit.id for unit in units), works)
    whole = sum(path.name.endswith(f".{chain.fingerprint}.jsonl") for path in earlier.values())
    if earlier:
        parts = f"{len(earlier) - whole} by another one that has parts in common"
        yield f"done before  {whole} units by this chain, {parts}"
    missing = unseen(len(units) - len(earlier), of=len(units), works=works)
    if missing:
        yield f"new          {missing}"
    why = (
        forecast(chain.steps, works, known=len(earlier))
        if missing or len(earlier) > whole
        else dict.fromkeys(chain.steps, "new")
    )
    for name, step in chain.steps.items():
        left = len(units) - (whole if why[name] else len(earlier))
        reason = f" ({why[name]})" if left and why[name] not in ("", "new") else ""
        yield f"  {name:<12} {step.fingerprint}  {f'run on {left} units{reason}' if left else 'all taken over'}"


def natural(word: str) -> int:
    """A number of recordings, as a word of the command line.

    Raises: ValueError, which argparse tells in its words
    """
    number = int(word)
    if number < 1:
        raise ValueError(word)
    return number


def node_name(manifest: "CorpusManifest") -> str:
    """The name of the corpus in the store."""
    return manifest.name.replace("-", "_")


def run_build(args: argparse.Namespace) -> int:
    """Catalog the folder if it is not one yet, then build; both are nodes, so both are skipped when made before."""
    from infra.manifest import load
    from infra.workflow.single import single
    from pipelines.manifest import CorpusManifest

    overrides = settings_of(args.set)
    manifest = load(CorpusManifest, args.manifest, overrides)
    place: Path = args.recordings
    if not place.exists() or (manifest.reader.name == "jsonl" and place.is_dir() and not is_catalog(place)):
        folder = {"folder": json.dumps(str(place.resolve()))}
        name = f"recordings_of_{manifest.name}".replace("-", "_")
        place = single("recordings", CATALOG, overrides=folder, name=name).out
    made = single(
        "corpus",
        args.manifest,
        inputs={"recordings": place},
        overrides=overrides,
        name=node_name(manifest),
        force=args.force,
    )
    print(made.out)
    return 0


def run_stats(args: argparse.Namespace) -> int:
    """The funnel of a finished corpus."""
    from pipelines.funnel import costs_table, table
    from pipelines.policy.bill import terms_told
    from pipelines.shards import CorpusError, read_card

    root = corpus_at(args.corpus)
    card = read_card(root)
    try:
        text = (root / "funnel.json").read_text(encoding="utf-8")
        facts = json.loads(text)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{root / 'funnel.json'}: cannot be read ({error})") from None
    if args.json:
        print(text, end="")
        return 0
    size = sum(shard["bytes"] for shard in card["shards"]) / 1e6
    print(f"{card['name']}@{card['digest']}: {told_of(card)}, {size:,.1f} MB")
    print(f"licenses: {'; '.join(card['licenses'])}; terms: {terms_told(card['licenses'])}\n")
    print(table(facts))
    print(costs_table(facts))
    return 0


def run_peek(args: argparse.Namespace) -> int:
    """Samples spread over the corpus, a line each."""
    from pipelines.policy.spared import spared_rows
    from pipelines.shards import open_corpus

    root = corpus_at(args.corpus)
    rows: Sequence[Mapping[str, Any]] = open_corpus(root).rows
    if args.dropped is not None:
        rows = [row for row in spared_rows(root) if row["status"] != "kept"]
        rows = [
            row for row in rows if args.dropped in row["reasons"] or not (args.dropped or row["reasons"] == ["between"])
        ]
    for row in rows[:: max(len(rows) // max(args.count, 1), 1)][: args.count]:
        print(row_line(row))
    return 0


def row_line(row: Mapping[str, Any]) -> str:
    """A sample, or a fate of the ledger, for people."""
    mos = "" if row["mos_overall"] is None else f"mos {row['mos_overall']:.2f}"
    language = row["language"] or row["given_language"] or "?"
    head = f"{(row['key'] or '-')[:10]:<10} {row.get('item_seconds', row['seconds']):>6.2f} s {language:<3} {mos:<8}"
    told = row.get("reason") or f"{row['tier']}: {row['text'] or '(no text)'}"
    return f"{head} {row['recording']}  {told}"


def run_verify(args: argparse.Namespace) -> int:
    """Every shard against its hash, every sample against the index."""
    from pipelines.packing.verify import verify
    from pipelines.policy.views import hidden_in
    from pipelines.shards import read_card

    root = args.corpus if "://" in args.corpus else corpus_at(args.corpus)
    wrong = verify(root)
    for sentence in wrong:
        print(sentence)
    card = read_card(root)
    if not wrong:
        hidden = hidden_in(root) if isinstance(root, Path) else 0
        aside = f"; {hidden} of them hidden by tombstones" if hidden else ""
        print(f"{card['name']}@{card['digest']}: {told_of(card)}, as written{aside}")
    return 1 if wrong else 0


def told_of(card: dict[str, Any]) -> str:
    """`3 samples in 1 shard`."""
    shards = len(card["shards"])
    return f"{card['samples']} samples in {shards} shard{'s' * (shards != 1)}"


def corpus_at(word: str) -> Path:
    """The folder of a corpus or a view: a path, the folder above it, or the (newest) one of that name in the store.

    Raises: CorpusError
    """
    from infra.workflow.manifest import NAME
    from infra.workflow.single import STORE
    from infra.workflow.store import Store
    from pipelines.policy.views import CARD, SELECTIONS
    from pipelines.shards import CorpusError

    path = Path(word)
    for folder in (path, path / "out", STORE / SELECTIONS / word):
        if (folder / "corpus.json").is_file() or (folder / CARD).is_file():
            return folder
    if path.is_dir():
        return path
    node = word.replace("-", "_")
    slots = Store(STORE).slots(node) if NAME.fullmatch(node) else []
    found = [slot.out for slot in slots if (slot.out / "corpus.json").is_file()]
    if not found:
        raise CorpusError(
            f"{word}: neither a folder, nor a corpus that was built here; `stipple corpus build` makes one"
        )
    return found[0]


def is_catalog(folder: Path) -> bool:
    """Does the folder (of an artifact) hold a catalog?"""
    return any((place / "recordings.jsonl").is_file() for place in (folder, folder / "out"))


def recordings_at(place: Path, manifest: "CorpusManifest") -> "list[Recording]":
    """The recordings of a folder or catalog, by the manifest's reader where that is not the catalog's.

    Raises: Refused
    """
    from infra.manifest import load, resolve
    from pipelines.readers import folder, jsonl
    from pipelines.recordings import RecordingsManifest, told

    if manifest.reader.name != "jsonl":
        return list(resolve("pipelines.readers", manifest.reader.name).recordings(manifest.reader.settings, place))
    if not place.exists() or (place.is_dir() and not is_catalog(place)):
        catalog = load(RecordingsManifest, CATALOG, {"folder": json.dumps(str(place.resolve()))})
        return [told(recording, catalog) for recording in folder.recordings(folder.Config(), place)]
    at = place / "out" if (place / "out" / "recordings.jsonl").is_file() else place
    return list(jsonl.recordings(jsonl.Config(), at))


def counted(counts: "Counter[str]") -> str:
    """`en 12, zh 3`, most first."""
    shown = [f"{name} {count}" for name, count in counts.most_common(8)]
    return ", ".join([*shown, "..."] if len(counts) > 8 else shown)
