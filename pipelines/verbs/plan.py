"""`stipple corpus plan`: what `build` would do, and why; with `--sample`, what to expect of it."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.verbs import add_recipe

if TYPE_CHECKING:
    from pipelines.manifest import CorpusManifest
    from pipelines.units import Unit

SUMMARY = "say what `build` would do: recordings, hours, units, transforms"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What of, by which manifest, and whether to try it."""
    add_recipe(parser)
    told = "run the chain on a sample (of N recordings), and say what to expect of all: hours, time, disk"
    parser.add_argument("--sample", type=natural, metavar="N", nargs="?", const=0, help=told)


def natural(word: str) -> int:
    """A number of recordings, as a word of the command line.

    Raises: ValueError, which argparse tells in its words
    """
    number = int(word)
    if number < 1:
        raise ValueError(word)
    return number


def main(args: argparse.Namespace) -> int:
    """What there is, and what would be done with it; nothing is decoded but a few headers."""
    import numpy as np

    from infra.log import say
    from infra.manifest import load
    from infra.settings import settings_of
    from infra.workflow.single import STORE
    from pipelines.forecast.prediction import predict
    from pipelines.forecast.sampling import lengths
    from pipelines.funnel import duration
    from pipelines.locate import recordings_at
    from pipelines.manifest import CorpusManifest
    from pipelines.recordings import amiss_in
    from pipelines.units import plan_units, prepared

    manifest = load(CorpusManifest, args.manifest, settings_of(args.set))
    found = prepared(recordings_at(args.recordings, manifest), manifest=manifest)
    units = plan_units(found, limits=manifest.units)
    known = lengths(found, random=np.random.default_rng(0))
    hours, exact = float(known.seconds.sum()) / 3600, known.read == len(found)
    megabytes = sum(recording.bytes for recording in found) / 1e6
    print(f"recordings   {len(found)}, {megabytes:,.1f} MB, {'' if exact else 'about '}{duration(hours)}")
    print(f"with text    {sum(recording.text is not None for recording in found)}")
    for line in amiss_in(found).told():
        print(f"amiss        {line}")
    print(f"languages    {most_common(Counter(recording.language or 'unknown' for recording in found))}")
    print(f"licenses     {most_common(Counter(recording.license for recording in found))}")
    print(f"units        {len(units)}, of at most {manifest.units.max_mb:g} MB")
    for line in work_to_do(manifest, units):
        print(line)
    print(f"keep         {', '.join(entry.name for entry in manifest.keep) or 'everything'}")
    print(f"tiers        {', '.join(manifest.tiers) or 'one: all'}")
    if args.sample is not None:
        print(predict(manifest, found, store=STORE, most=args.sample or None, say=say))
    return 0


def most_common(counts: "Counter[str]") -> str:
    """`en 12, zh 3`, most first, eight at most."""
    shown = [f"{name} {count}" for name, count in counts.most_common(8)]
    return ", ".join([*shown, "..."] if len(counts) > 8 else shown)


def work_to_do(manifest: "CorpusManifest", units: "Sequence[Unit]") -> Iterator[str]:
    """What is taken over from earlier builds of this corpus in the store, and why each transform has to run."""
    from infra.workflow.single import STORE
    from pipelines.build import made_chain
    from pipelines.locate import node_name
    from pipelines.reuse import earlier_results, reasons_to_run, unseen

    chain = made_chain(manifest)
    works = sorted((STORE / node_name(manifest)).glob("*/work"))
    earlier = earlier_results(chain.specs, (unit.id for unit in units), works)
    whole = sum(path.name.endswith(f".{chain.fingerprint}.jsonl") for path in earlier.values())
    if earlier:
        parts = f"{len(earlier) - whole} by another one that has parts in common"
        yield f"done before  {whole} units by this chain, {parts}"
    missing = unseen(len(units) - len(earlier), of=len(units), works=works)
    if missing:
        yield f"new          {missing}"
    why = (
        reasons_to_run(chain.specs, works, known=len(earlier))
        if missing or len(earlier) > whole
        else dict.fromkeys(chain.specs, "new")
    )
    for name, spec in chain.specs.items():
        left = len(units) - (whole if why[name] else len(earlier))
        reason = f" ({why[name]})" if left and why[name] not in ("", "new") else ""
        yield f"  {name:<12} {spec.fingerprint}  {f'run on {left} units{reason}' if left else 'all taken over'}"
