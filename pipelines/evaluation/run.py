"""Evaluate a bundle: the node kind `eval`. Speech or reconstructions in, a report and scores out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.digests import glance
from infra.manifest import digest
from infra.storage import write_bytes
from infra.wavs import wav_of
from infra.workflow.node import Job, Outcome, Refused
from pipelines.evaluation import kept, listing, report, scores
from pipelines.evaluation.manifest import EvalManifest
from pipelines.evaluation.metrics import Utterance, wer
from pipelines.evaluation.overlap import overlap
from pipelines.evaluation.reconstruction import reconstructions
from pipelines.evaluation.speech import speech
from pipelines.shards import Corpus, open_corpus

MANIFEST = EvalManifest
ROLES: Mapping[str, bool] = {"bundle": True, "data": False}
"""`data` is not needed where the manifest brings its own list of prompts, or none."""
CODE = (
    "pipelines/evaluation", "pipelines/clip.py", "pipelines/hearing/texts.py", "pipelines/packing/corpus_json.py",
    "pipelines/packing/index.py", "pipelines/packing/layout.py", "pipelines/packing/members.py",
    "pipelines/packing/tar.py", "pipelines/shards.py", "models",
)  # fmt: skip


def identity(manifest: EvalManifest) -> Mapping[str, Any]:
    """All of the manifest but what is for people, and the content of the list, its prompts and the weights named."""
    said = dict(contents(manifest.model_dump(exclude={"purpose"})))
    if manifest.speech is not None and manifest.speech.list_file is not None:
        said["list"] = listing.content(Path(manifest.speech.list_file))
    return said


def contents(value: Any) -> Any:
    """The same with what lies at a path in place of every path: weights that move are the same, and others are not."""
    if isinstance(value, Path):
        return glance(value)
    if isinstance(value, Mapping):
        return {key: contents(inner) for key, inner in value.items()}
    return [contents(inner) for inner in value] if isinstance(value, list) else value


def run(job: Job) -> Outcome:
    """Make, score, write down: out/report.html, out/scores.json, out/wavs/."""
    from models.runtime.bundle import find_bundle, load_bundle
    from models.runtime.precision import place

    manifest = job.manifest
    assert isinstance(manifest, EvalManifest)
    scores.measure(manifest.metrics, [])  # whose weights are missing says so before hours of speech are made
    for warning in unheard(manifest):
        job.say(warning)
    bundle = load_bundle(find_bundle(job.inputs["bundle"].out))
    bundle = place(bundle, device=manifest.device, precision=manifest.precision)
    corpus = open_corpus(job.inputs["data"].out) if "data" in job.inputs else None
    shelf = kept.shelf_of(job)
    if manifest.reconstruction is not None:
        if corpus is None:
            raise Refused("a reconstruction needs recordings: give a corpus (role `data`)")
        systems = reconstructions(bundle, corpus, manifest, shelf=shelf, say=job.say)
    else:
        systems = speech(bundle, corpus, manifest, shelf=shelf, say=job.say)
    job.say(f"scoring by {', '.join(entry.name for entry in manifest.metrics)}")
    measured = scores.table(systems, manifest.metrics, resamples=manifest.resamples, seed=manifest.seed)
    about = provenance(job, manifest, corpus)
    write_waves(systems, job.out / "wavs")
    timing = {name: scores.timing(utterances) for name, utterances in systems.items()}
    common = overlap(job)
    heard = {"trained_on": common.found, "trained_on_unknown": common.unseen}
    metrics = [entry.model_dump(mode="json") for entry in manifest.metrics]
    facts = {**about, "run": job.run.id, **heard, "metrics": metrics, "systems": measured, "timing": timing}
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    write_bytes(job.out / "scores.json", text.encode())
    write_bytes(job.out / "report.html", report.page(facts, systems, players=manifest.players).encode())
    means = flat_means(measured)
    job.run.metrics(means, step=0)
    for name in ("report.html", "scores.json"):
        job.run.artifact(job.out / name)
    return Outcome(digest=digest({**about, "systems": measured}), summary={"means": means, **heads(measured)})


def unheard(manifest: EvalManifest) -> Iterator[str]:
    """A warning for each language that is spoken and no recognizer hears: before hours of speech are made."""
    wanted = manifest.speech
    if wanted is None:
        return
    said = {wanted.list_language} if wanted.list_file else {line.language for line in wanted.lines}
    for entry in manifest.metrics:
        if isinstance(entry.settings, wer.Config):
            for language in sorted(set(map(wer.code_of, said))):
                if wer.route_of(entry.settings.routes, language) is None:
                    told = (
                        f"wer has no route for {language}" if language else "wer needs the language of what is spoken"
                    )
                    yield f"warning: {told}; it will have no score"


def provenance(job: Job, manifest: EvalManifest, corpus: Corpus | None) -> dict[str, Any]:
    """What was evaluated, on what."""
    bundle = job.inputs["bundle"]
    return {
        "name": manifest.name,
        "purpose": manifest.purpose,
        "kind": "reconstruction" if manifest.reconstruction is not None else "speech",
        "bundle": {"name": bundle.name, "run": bundle.run, "digest": bundle.digest},
        "data": None if corpus is None else {"name": corpus.name, "digest": corpus.digest},
        "list": list_facts(manifest),
        "settings": manifest.model_dump(mode="json", exclude={"name", "purpose", "metrics"}, exclude_none=True),
    }


def list_facts(manifest: EvalManifest) -> dict[str, Any] | None:
    """The list whose lines are spoken, if there is one: with the digest of its lines and recordings."""
    if manifest.speech is None or manifest.speech.list_file is None:
        return None
    path = Path(manifest.speech.list_file)
    return {"file": str(path), "lines": len(listing.lines_of(path)), "digest": listing.content(path)}


def write_waves(systems: Mapping[str, Sequence[Utterance]], folder: Path) -> None:
    """Everything that was made, as 16-bit wav: wavs/<system>/<key>.wav."""
    for name, utterances in systems.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for utterance in utterances:
            if utterance.wave_S is not None:
                write_bytes(folder / name / f"{utterance.key}.wav", wav_of(utterance.wave_S, utterance.rate_hz))


def flat_means(measured: Mapping[str, Any]) -> dict[str, float]:
    """`system/metric` -> mean, for those that have one; the counts of what was scored beside them."""
    found = {}
    for system, facts in measured.items():
        for metric, summary in facts["metrics"].items():
            if summary["mean"] is not None:
                found[f"{system}/{metric}"] = float(summary["mean"])
            found[f"{system}/{metric}_scored"] = float(summary["scored"])
    return found


def heads(measured: Mapping[str, Any]) -> dict[str, Any]:
    """The counts worth a line: how many were made, and how they ended."""
    own = measured["bundle"]
    return {"utterances": len(own["utterances"]), "finish": own["finish"]}
