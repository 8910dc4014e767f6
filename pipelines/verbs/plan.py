"""`stipple corpus plan`: what `build` would do, and why; with `--sample`, what to expect of it."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pipelines.verbs import add_recipe

if TYPE_CHECKING:
    from pipelines.chain import Chain
    from pipelines.planned import Planned
    from pipelines.row import Recording

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
    from infra.scratch import scratch
    from infra.settings import settings_of
    from infra.workflow.single import STORE
    from pipelines.build import made_chain
    from pipelines.forecast.prediction import predict
    from pipelines.forecast.sampling import lengths
    from pipelines.funnel import duration
    from pipelines.locate import recordings_at
    from pipelines.manifest import CorpusManifest
    from pipelines.planned import PLAN, Recordings, planned
    from pipelines.units import prepared

    manifest = load(CorpusManifest, args.manifest, settings_of(args.set))
    chain = made_chain(manifest)
    found = Counted(prepared(recordings_at(args.recordings, manifest), manifest=manifest))
    with scratch("plan") as folder:
        units = planned(found, limits=manifest.units, path=folder / PLAN)
        known = lengths(Recordings(units), random=np.random.default_rng(0))
        hours, exact = float(known.seconds.sum()) / 3600, known.read == units.recordings
        told = f"{found.bytes / 1e6:,.1f} MB, {'' if exact else 'about '}{duration(hours)}"
        print(f"recordings   {units.recordings}, {told}")
        print(f"with text    {units.with_text}")
        for line in found.faults.lines():
            print(f"amiss        {line}")
        print(f"languages    {most_common(found.languages)}")
        print(f"licenses     {most_common(found.licenses)}")
        print(f"units        {len(units)}, of at most {manifest.units.max_mb:g} MB")
        for line in work_to_do(chain, units):
            print(line)
        print(f"keep         {', '.join(entry.name for entry in manifest.keep) or 'everything'}")
        print(f"tiers        {', '.join(manifest.tiers) or 'one: all'}")
        if args.sample is not None:
            print(predict(chain, units, known=known, store=STORE, most=args.sample or None, say=say))
    return 0


class Counted:
    """Recordings as they pass by, and what there was of them at the end."""

    def __init__(self, recordings: "Iterable[Recording]") -> None:
        from pipelines.catalog import Faults

        self.recordings = recordings
        self.languages, self.licenses = Counter[str](), Counter[str]()
        self.bytes = 0
        self.faults = Faults()

    def __iter__(self) -> "Iterator[Recording]":
        for recording in self.recordings:
            self.languages[recording.language or "unknown"] += 1
            self.licenses[recording.license] += 1
            self.bytes += recording.bytes
            self.faults.see(recording)
            yield recording


def most_common(counts: "Counter[str]") -> str:
    """`en 12, zh 3`, most first, eight at most."""
    shown = [f"{name} {count}" for name, count in counts.most_common(8)]
    return ", ".join([*shown, "..."] if len(counts) > 8 else shown)


def work_to_do(chain: "Chain", units: "Planned") -> Iterator[str]:
    """What is taken over from earlier builds of this corpus in the store, and why each transform has to run."""
    from infra.log import counted
    from infra.workflow.single import STORE
    from pipelines.locate import node_name
    from pipelines.reuse import earlier_results, reasons_to_run, unseen

    works = sorted((STORE / node_name(chain.manifest)).glob("*/work"))
    earlier = earlier_results(chain.specs, units.names(), works)
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
    width = max([12, *map(len, chain.specs)])
    for name, spec in chain.specs.items():
        left = len(units) - (whole if why[name] else len(earlier))
        reason = f" ({why[name]})" if left and why[name] not in ("", "new") else ""
        told = f"run on {counted(left, 'unit')}{reason}" if left else "all taken over"
        yield f"  {name:<{width}} {spec.fingerprint}  {told}"
