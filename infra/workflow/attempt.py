"""One attempt at one node: its run opened, its work done, its artifact committed; or how it ended, written down."""

import contextlib
import json
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from infra.journal import About, JournalRun, new_id
from infra.log import clock
from infra.mistakes import last_line, sentence_of
from infra.provenance import code_state
from infra.storage import ROOT, empty_folder, require_free, write_atomic
from infra.workflow.fingerprint import changed_files, code_of, edited, flat, name_apart, sentences
from infra.workflow.node import Job, Made, Outcome, Refused
from infra.workflow.plan import NodePlan
from infra.workflow.store import Slot

LEAST_FREE_MB = 300
TOLD = 20
"""Differences that a run's description tells."""


@dataclass(frozen=True)
class Around:
    """What the workflow gives to every attempt."""

    workflow: str
    experiment: str
    parent: str | None
    """Our id of the workflow's run."""
    connect: Callable[[], None]


def attempt(planned: NodePlan, inputs: Mapping[str, Made], around: Around, say: Callable[[str], None]) -> Made:
    """Do a node's work in its slot, whose lease the caller holds.

    Raises: Refused, a sentence with the place of the log. KeyboardInterrupt and SystemExit pass, after they are noted.
    """
    slot, node = planned.slot, planned.node
    assert slot is not None
    require_free(slot.folder, megabytes=LEAST_FREE_MB, what=node.name)
    number = int(slot.state().get("attempt", 0)) + 1
    began = time.time()
    run = None
    try:
        run = open_run(planned, around, number)
        tell_input(run, planned, inputs, around, number)
        empty_folder(slot.out)
        slot.work.mkdir(exist_ok=True)
        job = Job(
            name=node.name,
            manifest=node.manifest,
            inputs=inputs,
            out=slot.out,
            work=slot.work,
            run=run,
            connect=around.connect,
            attempt=number,
            say=say,
        )
        outcome = node.module.run(job)
        tell_output(run, planned, outcome, slot)
        facts = facts_of(planned, inputs, around, run, number, began)
        if changed := edited(planned.parts, code_of(node.module.CODE)):
            facts["edited"] = changed
            run.tags({"edited": ", ".join(changed)})
            say(f"{changed_files(changed)} while it was made: parts of it may come from the new code")
        made = slot.commit(outcome, facts)
        run.metrics({"node/seconds": time.time() - began, "node/attempt": number}, step=number)
        run.end("FINISHED")
        slot.set_state(status="committed")
    except (KeyboardInterrupt, SystemExit):
        note_end(slot, run, "interrupted", "KILLED", "stopped by a person or a signal")
        raise
    except Exception as error:
        with contextlib.suppress(OSError), slot.log.open("a", encoding="utf-8") as log:
            log.write(f"attempt {number}\n{traceback.format_exc()}\n")
        known = sentence_of(error)
        sentence = known[0] if known else f"{last_line(error)}; the traceback is in {slot.log}"
        if gone := [role for role, made in inputs.items() if made.run and not Slot(made.out.parent).is_of(made.run)]:
            sentence = f"its {', '.join(gone)} was set aside meanwhile, to be made again; run the same command again"
        note_end(slot, run, "failed", "FAILED", sentence)
        raise Refused(sentence) from error
    finally:
        if run is not None:
            run.close()
    say(f"made in {clock(time.time() - began)}")
    return made


def open_run(planned: NodePlan, around: Around, number: int) -> JournalRun:
    """The node's run, new or gone on with; the state says `running` from here."""
    slot, node = planned.slot, planned.node
    assert slot is not None
    run_id = str(slot.state().get("run") or new_id())
    slot.begin(
        node=node.name,
        kind=node.kind,
        workflow=around.workflow,
        fingerprint=planned.fingerprint,
        parts=dict(planned.parts),
        differs=slot.state().get("differs") or differs(planned),
        run=run_id,
        attempt=number,
    )
    known = About(run_id, name_apart(node.name, planned.changes), around.experiment, node.kind, around.parent)
    run = JournalRun(slot.journal, known)
    run.start(attempt=number)
    return run


def differs(planned: NodePlan) -> str:
    """In what this run differs from the nearest before it, for its description."""
    if not planned.changes:
        return ""
    facts = sentences(planned.changes)
    shown = facts[:TOLD] + ([f"and {len(facts) - TOLD} more"] if len(facts) > TOLD else [])
    return f"Differs from {planned.since[:8]} (`stipple lineage show {planned.since[:8]}`): {'; '.join(shown)}"


def tell_input(run: JournalRun, planned: NodePlan, inputs: Mapping[str, Made], around: Around, number: int) -> None:
    """What every run says of itself, whatever its kind: tags, parameters, manifest, and what it is made from."""
    node, slot = planned.node, planned.slot
    assert slot is not None
    run.tags(
        {
            "kind": node.kind,
            "node": node.name,
            "workflow": around.workflow,
            "fingerprint": planned.fingerprint,
            "attempt": str(number),
            "manifest": from_root(node.path),
            "store": str(slot.folder),
            "parents": ",".join(made.run for made in inputs.values() if made.run),
            "licenses": ", ".join(licenses_of(inputs.values())),
            "mlflow.note.content": "\n\n".join(filter(None, (header_of(node.path), slot.state().get("differs")))),
            **code_state(ROOT),
        }
    )
    resolved = node.manifest.model_dump(mode="json")
    run.params({key.removeprefix("m."): json.loads(value) for key, value in flat(resolved, "m").items()})
    text = yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)
    write_atomic(slot.folder / "manifest.yaml", f"# {node.path.name}, as resolved for {node.name}\n{text}")
    run.artifact(slot.folder / "manifest.yaml")
    for role, made in inputs.items():
        if made.kind == "train" and made.run:
            run.input_model(run=made.run, role=role)
        else:
            run.input_dataset(name=made.name, digest=made.digest, uri=str(made.out), role=role, facts=made.summary)


def tell_output(run: JournalRun, planned: NodePlan, outcome: Outcome, slot: Slot) -> None:
    """What the node made: a model, a data set, or a report (its artifacts say it all)."""
    name, summary = planned.node.name, outcome.summary
    if planned.node.kind == "train":
        step_number = int(summary.get("steps", 0))
        run.output_model(name=name, uri=str(slot.out), digest=outcome.digest, step=step_number)
    elif planned.node.kind != "eval":
        run.output_dataset(name=name, digest=outcome.digest, uri=str(slot.out), facts=summary)
    licenses = summary.get("licenses")
    if isinstance(licenses, list | tuple | dict) and licenses:
        run.tags({"licenses": ", ".join(map(str, licenses))})


def header_of(manifest: Path) -> str:
    """The comment that a manifest opens with: what it is for, and what to expect."""
    lines = takewhile(lambda line: line.startswith("#"), manifest.read_text(encoding="utf-8").splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in lines)


def from_root(path: Path) -> str:
    """A path as seen from the checkout, where it lies in it: the same on every machine."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def licenses_of(inputs: Any) -> list[str]:
    """Licenses that inputs declare in their summaries, each once."""
    return sorted({str(license) for made in inputs for license in made.summary.get("licenses") or ()})


def facts_of(
    planned: NodePlan, inputs: Mapping[str, Made], around: Around, run: JournalRun, number: int, began: float
) -> dict[str, Any]:
    """What COMMIT.json says beside the outcome: enough to rebuild the whole lineage without MLflow."""
    node = planned.node
    return {
        "kind": node.kind,
        "name": node.name,
        "workflow": around.workflow,
        "fingerprint": planned.fingerprint,
        "run": run.id,
        "attempt": number,
        "started": began,
        "seconds": round(time.time() - began, 3),
        "host": os.uname().nodename,
        "manifest_path": from_root(node.path),
        "manifest": node.manifest.model_dump(mode="json"),
        "parts": dict(planned.parts),
        "inputs": {
            role: {
                "name": m.name,
                "kind": m.kind,
                "digest": m.digest,
                "fingerprint": m.fingerprint,
                "run": m.run,
                "out": str(m.out),
            }
            for role, m in inputs.items()
        },
        "code": code_state(ROOT),
    }


def note_end(slot: Slot, run: JournalRun | None, status: str, run_status: str, reason: str) -> None:
    """Write down how an attempt ended, as far as a full disk lets us; the reaper mends what it did not. One that was
    committed has ended well, whatever came after."""
    with contextlib.suppress(OSError):
        if slot.commit_record() is not None:
            status, run_status, reason = "committed", "FINISHED", ""
        if run is not None:
            run.end(run_status, reason=reason)
        slot.set_state(status=status, reason=reason)
