"""An estimate told, kept, and later held against what came of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.log import clock
from infra.manifest import digest
from infra.storage import read_json, write_json
from pipelines.chain import Chain
from pipelines.forecast.estimate import Estimate, estimate
from pipelines.forecast.expansion import Amount
from pipelines.forecast.sampling import Lengths
from pipelines.funnel import duration
from pipelines.manifest import CorpusManifest
from pipelines.planned import Planned, Recordings
from pipelines.shards import read_card

FOLDER = "_estimates"
"""In the store: estimates, by the work that they are of."""
REPORT = "prediction.json"
"""In a corpus: what was predicted of it, and what came."""
MATTERS = 0.05
"""Of the processor time of all transforms: what took less is not held against its prediction."""
AS_PLANNED = 0.9
"""Of the audio that a transform was expected to hear: below, parts were taken over, and its cost was saved."""


@dataclass(frozen=True)
class Comparison:
    """Something predicted, and what came."""

    what: str
    unit: str
    """`hours`, `seconds` or `bytes`."""
    predicted: Amount
    was: float

    @property
    def off(self) -> float:
        """By which share of the truth the prediction was too high."""
        return (self.predicted.value - self.was) / self.was if self.was else 0.0

    @property
    def inside(self) -> bool:
        """Did the truth lie in the interval? A thousandth is allowed for: headers are that exact."""
        slack = 1e-3 * abs(self.was)
        return self.predicted.low - slack <= self.was <= self.predicted.high + slack

    @property
    def sentence(self) -> str:
        """For people."""
        told = TELL[self.unit]
        value = f"predicted {told(self.predicted.value)} ({told(self.predicted.low)}..{told(self.predicted.high)})"
        verdict = "inside" if self.inside else "outside"
        return f"{self.what}: {value}, was {told(self.was)} ({self.off:+.1%}, {verdict})"


def size(count: float) -> str:
    """`12.3 MB`."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


TELL = {"hours": duration, "seconds": lambda seconds: duration(seconds / 3600), "bytes": size}


def table(estimate: Estimate, *, workers: Sequence[int] = (1, 2, 8, 64)) -> str:
    """The estimate for people, in plain text."""
    amounts = estimate.amounts
    share = f"{estimate.sampled:,} of {estimate.recordings:,} recordings"
    heard = f"{duration(estimate.sampled_seconds / 3600)} of audio"
    lines = [
        f"sample       {share}, {heard}, from {estimate.strata} strata, seed {estimate.seed}, "
        f"in {clock(estimate.spent_seconds)}",
        f"{'':<13}{'predicted':>12}   between, in about 9 of 10 cases",
    ]
    rows = [(f"hours {name}", f"hours/{name}", "hours") for name in ("in", "kept", "dropped", "failed")]
    rows += [(f"  {name[5:]}", name, "hours") for name in amounts if name.startswith("tier/") and name != "tier/all"]
    lines += [line(told, amounts[name], unit) for told, name, unit in rows if name in amounts]
    for kind, told in (("cpu", "processor"), ("gpu", "accelerator")):
        parts = {name[4:]: amount for name, amount in amounts.items() if name.startswith(f"{kind}/")}
        lines += [told] if parts else []
        ranked = sorted(parts.items(), key=lambda part: -part[1].value)
        lines += [line(f"  {name}", amount, "seconds") for name, amount in ranked]
    free = amounts["cpu"].value / max(amounts["wall"].value, 1e-9)
    lines += [f"time, with so many workers on cores as busy as this one was (it gave {min(free, 1):.0%} of its time)"]
    lines += [line(f"  {count}", estimate.wall_seconds(count), "seconds") for count in workers]
    lines += ["disk"]
    lines += [line(f"  {name}", amounts[f"bytes/{name}"], "bytes") for name in ("work", "shards")]
    return "\n".join(lines)


def line(name: str, amount: Amount, unit: str) -> str:
    """One amount, with its interval."""
    told = TELL[unit]
    return f"{name:<13}{told(amount.value):>12}   {told(amount.low)} .. {told(amount.high)}"


def compare(estimate: Estimate, facts: Mapping[str, Any], *, shard_bytes: float | None = None) -> list[Comparison]:
    """The estimate against the funnel of the finished corpus (funnel.json), and the size of its shards."""
    amounts, found = estimate.amounts, list[Comparison]()
    for name, hours in facts["hours"].items():
        if f"hours/{name}" in amounts:
            found.append(Comparison(f"hours {name}", "hours", amounts[f"hours/{name}"], hours))
    costs = facts.get("costs", {})
    whole = {kind: sum(float(cost.get(f"{kind}_seconds", 0.0)) for cost in costs.values()) for kind in ("cpu", "gpu")}
    for name, cost in costs.items():
        expected = amounts.get(f"audio/{name}")
        if expected is not None and cost.get("audio_seconds", 0.0) < AS_PLANNED * expected.value:
            continue
        for kind, told in (("cpu", "processor"), ("gpu", "accelerator")):
            spent = float(cost.get(f"{kind}_seconds", 0.0))
            if f"{kind}/{name}" in amounts and spent > MATTERS * whole[kind]:
                found.append(Comparison(f"{told} time of {name}", "seconds", amounts[f"{kind}/{name}"], spent))
    if shard_bytes is not None:
        found.append(Comparison("shards", "bytes", amounts["bytes/shards"], shard_bytes))
    return found


def key_of(manifest: CorpusManifest, *, chain: str, units: Iterable[str]) -> str:
    """Of the work that an estimate is of: units (by id), chain (by fingerprint), and the policy."""
    policy = manifest.model_dump(mode="json", include={"keep", "tiers"})
    return digest([sorted(units), chain, policy])[:24]


def remember(estimate: Estimate, store: Path, *, key: str) -> Path:
    """Keep the estimate in the store, for whoever builds this corpus."""
    path = store / FOLDER / f"{key}.json"
    write_json(path, asdict(estimate))
    return path


def recall(store: Path, *, key: str) -> Estimate | None:
    """The estimate of this work; None where nobody made one."""
    found = read_json(store / FOLDER / f"{key}.json")
    if found is None:
        return None
    amounts = {name: Amount(**amount) for name, amount in found.pop("amounts").items()}
    return Estimate(**found, amounts=amounts)


def predict(
    chain: Chain,
    units: Planned,
    *,
    known: Lengths,
    store: Path,
    most: int | None = None,
    seconds_budget: float = 120.0,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Estimate, keep the estimate in the store, and tell it: `stipple corpus plan --sample`.

    Raises: Refused
    """
    told: dict[str, Any] = {"seconds_budget": seconds_budget, "seed": seed, "most": most, "say": say}
    found = estimate(chain, Recordings(units), known=known, **told)
    remember(found, store, key=key_of(chain.manifest, chain=chain.fingerprint, units=units.names()))
    return table(found)


def hold_against(
    out: Path, manifest: CorpusManifest, *, store: Path, chain: str, units: Iterable[str], facts: Mapping[str, Any]
) -> list[str]:
    """What was predicted of the corpus in `out`, against what came: written to it, and told; nothing if nobody asked.

    Call it when `corpus.json` is written, before the audit page.
    """
    found = recall(store, key=key_of(manifest, chain=chain, units=units))
    if found is None:
        return []
    written = sum(int(shard["bytes"]) for shard in read_card(out)["shards"])
    return list(report(out, compare(found, facts, shard_bytes=written)))


def report(out: Path, compared: Sequence[Comparison]) -> Iterator[str]:
    """Write `prediction.json` into the corpus folder, where the audit page finds it; yields its sentences."""
    sentences = [one.sentence for one in compared]
    write_json(out / REPORT, {"sentences": sentences, "compared": [asdict(one) for one in compared]})
    yield from sentences
