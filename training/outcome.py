"""What a stage leaves once its workers have ended: curves, samples, summary, licenses, and the digest of its bundle."""

import shutil

from infra.log import clock
from infra.workflow.node import Job, Outcome
from pipelines.shards import open_corpus
from training import heard, report
from training.manifest import StageManifest
from training.steplog import LOSSES, read_log
from training.validate import SAMPLES


def finish(job: Job, manifest: StageManifest, *, seconds: float) -> Outcome:
    """Curves, summary and digest of what the workers left."""
    lines = read_log(job.work / LOSSES)
    shutil.copy(job.work / LOSSES, job.out / LOSSES)
    if (job.work / SAMPLES).is_dir():
        shutil.copytree(job.work / SAMPLES, job.out / SAMPLES, dirs_exist_ok=True)
    report.draw(lines, job.out / "losses.png", title=manifest.stage)
    for name in (LOSSES, "losses.png", SAMPLES):
        if (job.out / name).exists():
            job.run.artifact(job.out / name)
    heard.keep(job.work, job.out, manifest=manifest)
    first, last, over = report.first_and_last(lines)
    held = [line["validation"] for line in lines if "validation" in line]
    summary = {
        "stage": manifest.stage,
        "objective": manifest.objective.name,
        "steps": manifest.steps,
        "seconds": round(seconds, 1),
        "over": over,
        "first": first,
        "last": last,
        "validation_first": held[0] if held else {},
        "validation": held[-1] if held else {},
        "licenses": licenses_of(job),
    }
    job.say(f"{report.first_to_last(summary)} ({clock(seconds)})")
    if manifest.bar is not None and manifest.steps >= manifest.bar.after_steps and held:
        missed = report.missed(held[-1], below=manifest.bar.below)
        absent = ", ".join(sorted(set(manifest.bar.below) - set(held[-1])))
        summary["bar"] = {"below": manifest.bar.below, "missed": missed, "not_measured": absent}
        job.say(report.of_bar(held[-1], below=manifest.bar.below))
    return Outcome(digest=report.bundle_digest(job.out / "bundle"), summary=summary)


def licenses_of(job: Job) -> list[str]:
    """Licenses of everything that the weights come from, each once, sorted."""
    found: set[str] = set()
    for made in job.inputs.values():
        if made.kind == "corpus":
            found.update(open_corpus(made.out).licenses)
        else:
            found.update(map(str, made.summary.get("licenses") or ()))
    return sorted(found)
