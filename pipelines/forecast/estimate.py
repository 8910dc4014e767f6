"""What a corpus will give and cost, before it is made: the real chain over a sample of its recordings."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from infra.scratch import scratch
from infra.workflow.node import Refused
from models.frozen import WeightsError
from pipelines.chain import Chain
from pipelines.forecast.expansion import Amount, Floats, Ran, expanded
from pipelines.forecast.sampling import Lengths, order, strata, window
from pipelines.judging import judged
from pipelines.ledger import UnitResult, result_path, sound_path
from pipelines.manifest import CorpusManifest
from pipelines.packing.members import record_bytes
from pipelines.packing.tar import padded
from pipelines.policy.withheld import withholding
from pipelines.row import Recording
from pipelines.units import Unit

LEAST, SHARE = 100, 0.001
"""Recordings of a sample: this share of all, and not fewer than this many, unless something else is asked."""
WARM_UPS, WARM_UP_SECONDS = 4, 3.0
"""Recordings, one a language, on which models load before anything is timed; those whose length is nearest to this."""
WARM_UP_CHOICE = 2000
"""Recordings among which these are looked for."""
START_SECONDS = 12.0
"""From the command to the first unit: Ray starts."""


@dataclass(frozen=True)
class Estimate:
    """What is expected of a corpus."""

    recordings: int
    sampled: int
    sampled_seconds: float
    """Of audio that the chain was run on."""
    strata: int
    seed: int
    spent_seconds: float
    """For this estimate."""
    setup_seconds: float
    """Until the models of a worker are loaded."""
    slowest_seconds: float
    """The longest recording alone, which no number of workers makes faster."""
    amounts: Mapping[str, Amount] = field(default_factory=dict)
    """`hours/in`, `hours/kept` ..., `tier/<name>` in hours; in seconds `cpu/<transform>`, `gpu/<transform>`,
    `audio/<transform>`, and of one worker `cpu` and `wall`; `bytes/work` and `bytes/shards`."""

    def wall_seconds(self, workers: int) -> Amount:
        """Until the units are done, with so many workers, each on a core as fast and as free as this one was."""
        fixed, wall = START_SECONDS + self.setup_seconds, self.amounts["wall"]
        parts = (max(part / workers, self.slowest_seconds) + fixed for part in (wall.value, wall.low, wall.high))
        return Amount(*parts)


def estimate(
    chain: Chain,
    recordings: Sequence[Recording],
    *,
    known: Lengths,
    seconds_budget: float = 120.0,
    seed: int = 0,
    most: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Estimate:
    """Run the chain, which has run nothing yet, on a stratified sample until it has `most` recordings, or the time is
    spent. `known`: how long the recordings are.

    Nothing is left behind; what the sample costs in requests to an endpoint of captions is remembered there.

    Raises: Refused where there is nothing to sample, or weights are missing.
    """
    began, random = time.monotonic(), np.random.default_rng(seed)
    if not recordings:
        raise Refused("there is no recording to draw a sample from")
    wanted = min(len(recordings), most or max(LEAST, round(SHARE * len(recordings))))
    stratum = strata(recordings, known.seconds, sample=wanted)
    say(f"{len(recordings)} recordings in {int(stratum.max()) + 1} strata; lengths of {known.read} are stated")
    ran: list[Ran] = []
    with scratch("estimate") as folder:
        try:
            warmed, loading = warmed_up(chain, recordings, known.seconds, folder)
            for number in order(stratum, known.seconds, random=random):
                part, seconds = window(recordings[number], float(known.seconds[number]), random=random)
                facts = run_one(chain, part, folder, name=f"{number:024d}")
                ran.append(Ran(int(stratum[number]), seconds, part is recordings[number], facts))
                if len(ran) >= wanted or time.monotonic() - began > seconds_budget:
                    break
        except WeightsError as error:
            raise Refused(str(error)) from None
    amounts = expanded(ran, stratum, known.seconds, random=random)
    pace = sum(one.found["wall"] for one in ran) / max(sum(one.seconds for one in ran), 1e-9)
    return Estimate(
        recordings=len(recordings),
        sampled=len(ran),
        sampled_seconds=sum(one.found["hours/in"] for one in ran) * 3600,
        strata=int(stratum.max()) + 1,
        seed=seed,
        spent_seconds=time.monotonic() - began,
        setup_seconds=max(loading - warmed * pace, 0.0),
        slowest_seconds=float(known.seconds.max()) * pace,
        amounts=amounts,
    )


def warmed_up(chain: Chain, recordings: Sequence[Recording], seconds: Floats, folder: Path) -> tuple[float, float]:
    """Load the models, with a short recording of each language; returns how long those are, and what it took."""
    chosen: dict[str | None, int] = {}
    for number in np.argsort(np.abs(seconds - WARM_UP_SECONDS), kind="stable")[:WARM_UP_CHOICE]:
        if len(chosen) >= WARM_UPS:
            break
        if seconds[number] > 1 and recordings[number].fault is None:
            chosen.setdefault(recordings[number].language, int(number))
    took = sum(run_one(chain, recordings[n], folder, name=f"cold{n:020d}")["wall"] for n in chosen.values())
    return float(sum(seconds[n] for n in chosen.values())), took


def run_one(chain: Chain, recording: Recording, folder: Path, *, name: str) -> dict[str, float]:
    """The recording through the chain and the policy, as a unit of its own, and what came of it."""
    began, cpu = time.monotonic(), time.process_time()
    result = chain.run_unit(Unit(name, (recording,)), folder)
    wall, cpu = time.monotonic() - began, time.process_time() - cpu
    assert result is not None, f"{name} was run twice"
    files = [path(folder, unit=name, chain=result.chain) for path in (sound_path, result_path)]
    found = {"wall": wall, "cpu": cpu, "bytes/work": float(sum(os.path.getsize(file) for file in files))}
    found |= {"hours/in": sum(fact.seconds for fact in result.recordings) / 3600}
    for kind in ("cpu", "gpu", "audio"):
        spent: Mapping[str, float] = getattr(result, f"{kind}_seconds")
        found |= {f"{kind}/{transform}": seconds for transform, seconds in spent.items() if seconds}
    for path in files:
        path.unlink()
    return {**found, **kept_of(result, chain.manifest)}


def kept_of(result: UnitResult, manifest: CorpusManifest) -> dict[str, float]:
    """Hours by status and tier, and the bytes of what is kept in its shard."""
    withheld = withholding(corpus=manifest.name, store=None, allow=manifest.allow)
    found = dict.fromkeys(("hours/kept", "hours/dropped", "hours/failed", "bytes/shards"), 0.0)
    for fate, row in judged(result, manifest, rights={}, withheld=withheld):
        found[f"hours/{row['status']}"] += fate.seconds / 3600
        if row["status"] == "kept":
            tier = f"tier/{row['tier']}"
            found[tier] = found.get(tier, 0.0) + fate.seconds / 3600
            record = record_bytes(row, tier=row["tier"])
            found["bytes/shards"] += padded(fate.sounds[-1].flac_bytes) + padded(record)
    return found
