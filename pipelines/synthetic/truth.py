"""How many synthetic recordings were treated rightly, by kind: the ledger of a corpus against what is known of them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.hearing.consistency import character_error_rate

LEAST_KEPT = 0.5
"""Share of a recording that must be kept for it to count as kept."""
OTHER_VOICE = 0.1
"""Share of a segment that another voice may take up: pauses are cut in their middle."""

Row = Mapping[str, Any]


def read_truth(recordings: Path) -> list[dict[str, Any]] | None:
    """The truth beside the recordings in a folder; None where nobody knows it."""
    path = recordings / "truth.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line] if path.is_file() else None


def score_against_truth(truth: Iterable[Row], ledger: Iterable[Row]) -> dict[str, Any]:
    """Right and all, per kind and in total; every wrong one with what was expected and what happened.

    `ledger`: rows of pipelines.ledger (recording, status, reason, item_seconds, and a segment's fields).
    """
    fates: dict[str, list[Row]] = defaultdict(list)
    for row in ledger:
        fates[str(row["recording"])].append(row)
    kinds: dict[str, dict[str, int]] = defaultdict(lambda: {"right": 0, "all": 0})
    wrong, languages, heard = [], [0, 0], []
    for fact in truth:
        rows = fates.get(fact["name"], [])
        kept = [row for row in rows if row["status"] == "kept"]
        right = fits(fact, rows)
        kinds[fact["kind"]]["all"] += 1
        kinds[fact["kind"]]["right"] += right
        if not right:
            wrong.append({"name": fact["name"], "kind": fact["kind"], "expect": fact["expect"], "was": story(rows)})
        if fact.get("language") and kept:
            languages[0] += all(row["language"] == fact["language"] for row in kept)
            languages[1] += 1
        if fact["kind"] == "untold" and kept and kept[0]["text"]:
            heard.append(character_error_rate(kept[0]["text"], given=fact["text"]))
    judged = {kind: counts for kind, counts in kinds.items() if kind != "music_bed"}
    return {
        "right": sum(counts["right"] for counts in judged.values()),
        "all": sum(counts["all"] for counts in judged.values()),
        "kinds": dict(kinds),
        "wrong": wrong,
        "language_right": languages[0],
        "language_all": languages[1],
        "untold_cer": round(sum(heard) / len(heard), 4) if heard else None,
    }


def fits(fact: Row, rows: Sequence[Row]) -> bool:
    """Was the recording treated as its kind asks for?"""
    kept = [row for row in rows if row["status"] == "kept"]
    seconds = sum(float(row["item_seconds"]) for row in kept)
    match fact["expect"]:
        case "kept":
            return seconds >= LEAST_KEPT * float(fact["seconds"])
        case "dropped":
            return bool(rows) and not kept and not any(row["status"] == "failed" for row in rows)
        case "failed":
            return bool(rows) and all(row["status"] == "failed" for row in rows)
        case "cleaned":
            return all(row["enhanced"] not in (None, "no") for row in kept)
        case "one voice each":
            return all(other_voice(row, fact["turns"]) <= OTHER_VOICE for row in kept)
    return True


def other_voice(row: Row, turns: Iterable[Row]) -> float:
    """Share of a segment in which somebody else talks than the one who talks most."""
    start, end = row["start_sample"] / row["rate_hz"], row["end_sample"] / row["rate_hz"]
    shares: dict[str, float] = defaultdict(float)
    for turn in turns:
        shares[turn["speaker"]] += max(0.0, min(end, turn["end"]) - max(start, turn["start"]))
    total = sum(shares.values())
    return 1 - max(shares.values()) / total if total > 0 else 0.0


def story(rows: Sequence[Row]) -> str:
    """What became of a recording, in a few words."""
    parts = [
        f"{row['status']} {row['item_seconds']:.1f} s" + (f" ({row['reason']})" if row["reason"] else "")
        for row in rows
    ]
    return "; ".join(parts[:4]) or "not in the ledger"


def table(report: Row) -> str:
    """The report for people."""
    lines = [f"treated rightly: {report['right']} of {report['all']} recordings of known truth"]
    lines += [
        f"  {kind:<14}{counts['right']:>3} of {counts['all']}" for kind, counts in sorted(report["kinds"].items())
    ]
    lines += [f"  wrong: {item['name']} (expected {item['expect']}): {item['was']}" for item in report["wrong"]]
    lines.append(f"  language right in {report['language_right']} of {report['language_all']} kept recordings")
    if report["untold_cer"] is not None:
        lines.append(f"  character error rate where no text was given: {report['untold_cer']:.0%}")
    return "\n".join(lines)
