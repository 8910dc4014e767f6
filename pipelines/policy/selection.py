"""A selection: the samples of a finished corpus that another policy keeps, as a view that training can open."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.locks import alone_in
from infra.manifest import Entry, digest
from infra.storage import json_text, replacing, sync_folder
from infra.workflow.node import Refused
from pipelines.funnel import duration
from pipelines.manifest import CorpusManifest
from pipelines.policy.bill import bill
from pipelines.policy.bill import table as bill_table
from pipelines.policy.conditions import Condition, holds
from pipelines.policy.licenses import Use, join, refused
from pipelines.policy.scored import LISTS, schema_of, scored_parts
from pipelines.policy.select import judge
from pipelines.policy.views import CARD, FORMAT, TABLE, selection_digest
from pipelines.row import segment_of
from pipelines.shards import read_card

BATCH = 8192


@dataclass
class Tally:
    """What a policy did to the samples of a corpus, and what else it would have kept."""

    kept: list[Any] = field(default_factory=list)
    """pyarrow.Tables: key and tier of each sample."""
    hours: dict[str, float] = field(default_factory=dict)
    """Tier -> hours kept."""
    lost: dict[str, float] = field(default_factory=dict)
    """First reason -> hours that the corpus has and the policy refuses."""
    beyond: float = 0.0
    """Hours that the policy keeps and the corpus does not have: its own policy dropped them."""
    licenses: dict[str, float] = field(default_factory=dict)
    """License -> hours kept."""
    licenses_before: dict[str, float] = field(default_factory=dict)
    """License -> hours that the corpus has."""

    def __len__(self) -> int:
        """Samples that are kept."""
        return sum(table.num_rows for table in self.kept)

    def add(
        self,
        rows: Sequence[Mapping[str, Any]],
        inside: Sequence[bool | None],
        decide: Callable[[Mapping[str, Any], bool], tuple[str | None, str]],
    ) -> None:
        """Take up segments; `decide` says of those that are `inside` of the condition, and of whether the corpus has
        them, which tier, or why none."""
        import pyarrow

        keys, tiers = list[str](), list[str]()
        for row, asked in zip(rows, inside, strict=True):
            hours, had = row["hours"], row["status"] == "kept"
            if had:
                add_hours(self.licenses_before, row["license"], hours)
            tier, reason = decide(row, had) if asked else (None, "where")
            if tier is not None and had:
                keys.append(row["key"])
                tiers.append(tier)
                add_hours(self.hours, tier, hours)
                add_hours(self.licenses, row["license"], hours)
            elif had:
                add_hours(self.lost, reason, hours)
            elif tier is not None:
                self.beyond += hours
        text = pyarrow.string()
        self.kept.append(pyarrow.table({"key": pyarrow.array(keys, text), "tier": pyarrow.array(tiers, text)}))


def add_hours(sums: dict[str, float], name: str, hours: float) -> None:
    """One more."""
    sums[name] = sums.get(name, 0.0) + hours


def tally(
    root: Path, *, policy: CorpusManifest | None, allow: Sequence[Use] = (), where: Condition | None = None
) -> Tally:
    """Judge every stored segment by the policy (by none: keep what the corpus keeps), the licenses and the condition.

    Raises: CorpusError, ManifestError
    """
    columns = [name for name in schema_of(root).names if name not in (*LISTS, "audio_print")]
    found = Tally()
    for part in scored_parts(root, [*columns, *(where.names if where else ())]):
        table, at = part.judged, 0
        told = [name for name in table.column_names if table[name].null_count < table.num_rows or name == "tier"]
        inside = [True] * table.num_rows if where is None else holds(where, table).to_pylist()
        table = table.select(told)  # columns that nothing was written into cost as much time as the others
        for batch in table.to_batches(max_chunksize=BATCH):
            asked, at = inside[at : at + batch.num_rows], at + batch.num_rows
            found.add(batch.to_pylist(), asked, lambda row, had: decide(row, policy=policy, allow=allow, had=had))
    return found


def decide(
    row: Mapping[str, Any], *, policy: CorpusManifest | None, allow: Sequence[Use], had: bool
) -> tuple[str | None, str]:
    """The tier, or the reason why none."""
    if refused(row["license"], allow) is not None:
        return None, "license"
    if policy is None:
        return (row["tier"], "") if had else (None, "")
    verdict = judge(segment_of(dict(row)), policy)
    return verdict.tier, verdict.reasons[0] if verdict.reasons else ""


def policy_facts(policy: CorpusManifest | None, *, allow: Sequence[Use], where: Condition | None) -> dict[str, Any]:
    """What decides: the filters with all their settings, as they stand in a manifest."""

    def entries_of(entries: Sequence[Entry]) -> list[dict[str, Any]]:
        return [{"name": entry.name, **entry.settings.model_dump(mode="json")} for entry in entries]

    facts: dict[str, Any] = {"allow": sorted(allow), "where": where.text if where else None}
    if policy is not None:
        facts["keep"] = entries_of(policy.keep)
        facts["tiers"] = {name: entries_of(entries) for name, entries in policy.tiers.items()}
    return facts


def write_selection(out: Path, root: Path, found: Tally, *, name: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """Write the view into the folder `out`; returns its card. Table and card are both on the disk before either has its
    name: where they are not, what was there stays.

    Raises: Refused where nothing is left, or `out` holds something else.
    """
    import pyarrow
    from pyarrow import parquet

    if not len(found):
        worst = max(found.lost, key=lambda reason: found.lost[reason], default="tombstones")
        raise Refused(f"nothing of {root} is left, most often because of {worst}; loosen the policy")
    card = read_card(root)
    chosen = pyarrow.concat_tables(found.kept).sort_by("key").combine_chunks()
    facts = {
        "format": FORMAT,
        "name": name,
        "digest": selection_digest(card["digest"], chosen),
        "corpus": {"name": card["name"], "digest": card["digest"], "path": os.path.relpath(root, out)},
        "policy_digest": digest(dict(policy))[:32],
        "policy": dict(policy),
        "samples": chosen.num_rows,
        "hours": sum(found.hours.values()),
        "hours_by_tier": dict(sorted(found.hours.items())),
        "licenses": sorted(found.licenses),
        "terms": sorted(join(found.licenses)),
    }
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out):
        if not (out / CARD).is_file() and not all(path.name.startswith((CARD, TABLE)) for path in out.iterdir()):
            raise Refused(f"{out}: is not empty, and not a selection; give a new folder")
        with replacing(out / CARD) as told, replacing(out / TABLE) as file:
            told.write(json_text(facts).encode())
            told.flush()
            os.fsync(told.fileno())
            parquet.write_table(chosen, file, compression="zstd")
        sync_folder(out)
    return facts


def table(found: Tally, *, allow: Sequence[Use]) -> str:
    """What the policy did, for people; with the bill of licenses before and after, where uses have to be allowed."""
    kept, lost = sum(found.hours.values()), sum(found.lost.values())
    lines = [f"{'in the corpus':<28}{duration(kept + lost):>12}", f"  {'kept':<26}{duration(kept):>12}"]
    if set(found.hours) != {"all"}:
        lines += [f"    {tier:<24}{duration(hours):>12}" for tier, hours in sorted(found.hours.items())]
    lines.append(f"  {'lost':<26}{duration(lost):>12}")
    ranked = sorted(found.lost.items(), key=lambda pair: -pair[1])
    lines += [f"    {reason:<24}{duration(hours):>12}" for reason, hours in ranked]
    if found.beyond:
        lines.append(
            f"{'kept, but not in it':<28}{duration(found.beyond):>12}   a build with this policy has them, too"
        )
    if allow:
        uses = ", ".join(allow)
        lines += ["", bill_table(bill(found.licenses_before, allow=allow), title="licenses in the corpus")]
        lines += ["", bill_table(bill(found.licenses, allow=allow), title=f"licenses in what is kept ({uses})")]
    return "\n".join(lines)
