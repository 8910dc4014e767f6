"""What every transform of a chain depends on, as fingerprints: what changed, and so what has to run again."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infra.manifest import digest, resolve
from infra.storage import ROOT
from infra.workflow.fingerprint import code_digest
from pipelines.manifest import FIRST, CorpusManifest
from pipelines.row import OWNERS, SCHEMA, score_owner

RECORD = "pipelines/row.py"
"""What every transform imports and what decides no result: SCHEMA stands for it."""
CUT_BY = (None, *FIRST)
"""Owners of the fields that a segment has when it is cut."""
NAMED = ("models/frozen", "pipelines/diarizers")
"""Folders of which a setting names a file: no import leads there."""


@dataclass(frozen=True)
class TransformSpec:
    """One transform in its place in a chain."""

    name: str
    sets: tuple[str, ...]
    """Fields of the segment that it writes."""
    hides: tuple[str, ...]
    """Fields that it does not read: they are None while it runs, so that nothing depends on them in secret."""
    changes_wave: bool
    whole_recordings: bool
    """It looks at all clips of a recording together."""
    settings: Mapping[str, Any]
    weights: str
    code: str
    after: Mapping[str, str]
    """Transforms whose results it sees -> their fingerprints."""

    @property
    def fingerprint(self) -> str:
        """Of everything that decides what this transform gives."""
        parts = [SCHEMA, self.name, self.settings, self.weights, self.code, self.after]
        return digest(parts)[:12]

    def facts(self) -> dict[str, Any]:
        """What is kept of it beside the results, to tell later what has changed."""
        kept = ("settings", "weights", "code", "after")
        return {"fingerprint": self.fingerprint, **{name: asdict(self)[name] for name in kept}}


def recipe(manifest: CorpusManifest, *, weights: Mapping[str, str]) -> dict[str, TransformSpec]:
    """Transform -> spec, in the order of the manifest; `weights` are the fingerprints of their networks.

    A transform depends on the ones that cut the clips, on those before it that may change the waveform, and on those
    whose fields it reads; on nothing else.
    """
    names = [entry.name for entry in manifest.transforms]
    found: dict[str, TransformSpec] = {}
    for number, entry in enumerate(manifest.transforms):
        module = resolve("pipelines.transforms", entry.name)
        settings = entry.settings.model_dump(mode="json")
        reads: tuple[str, ...] = getattr(module, "READS", ())
        before = names[:number]
        seen = [name for name in before if name in FIRST or found[name].changes_wave]
        seen += [owner for owner in map(score_owner, reads) if owner in before and owner not in seen]
        visible = {*reads, *(getattr(module, "SETS", ()))}
        found[entry.name] = TransformSpec(
            name=entry.name,
            sets=tuple(getattr(module, "SETS", ())),
            hides=tuple(name for name, owner in OWNERS.items() if owner not in CUT_BY and name not in visible),
            changes_wave=bool(getattr(module, "CHANGES_WAVE", False)),
            whole_recordings=bool(getattr(module, "WHOLE_RECORDINGS", False)),
            settings=settings,
            weights=weights[entry.name],
            code=source_digest((f"pipelines/transforms/{entry.name}.py", *files_named(settings))),
            after={name: found[name].fingerprint for name in sorted(seen)},
        )
    return found


def fingerprint_of(specs: Mapping[str, TransformSpec]) -> str:
    """Of a whole chain."""
    return digest([[spec.name, spec.fingerprint] for spec in specs.values()])[:12]


def changes(spec: TransformSpec, earlier: Mapping[str, Any] | None) -> str:
    """Why a transform has to run again, against the facts that an earlier chain kept of it; empty where it need not."""
    if earlier is None:
        return "new"
    if earlier["fingerprint"] == spec.fingerprint:
        return ""
    settings: Mapping[str, Any] = earlier["settings"]
    shown = [
        f"{key}: {settings.get(key)!r} -> {spec.settings.get(key)!r}"
        for key in sorted({*settings, *spec.settings})
        if settings.get(key) != spec.settings.get(key)
    ]
    shown += [
        f"its {what} changed" for what in ("weights", "code") if earlier[what] != spec.facts()[what] and not shown
    ]
    after: Mapping[str, str] = earlier["after"]
    shown += [
        f"it sees what {name} gives"
        for name in sorted({*after, *spec.after})
        if not shown and after.get(name) != spec.after.get(name)
    ]
    return "; ".join(shown) or "the record of a segment changed"


def files_named(settings: Any) -> list[str]:
    """Files of NAMED that a value in the settings is the name of."""
    if isinstance(settings, Mapping):
        settings = list(settings.values())
    if isinstance(settings, list):
        return sorted({file for value in settings for file in files_named(value)})
    files = [f"{folder}/{settings}.py" for folder in NAMED if isinstance(settings, str) and settings.isidentifier()]
    return [file for file in files if (ROOT / file).is_file()]


@cache
def source_digest(paths: tuple[str, ...]) -> str:
    """Of the code of source files of ours, and of all of ours that they import: code that decides a result."""
    seen: dict[str, str] = {}
    waiting = [*paths]
    while waiting:
        at = waiting.pop()
        if at not in seen and at != RECORD:
            seen[at] = code_digest(ROOT / at, (ROOT / at).stat().st_mtime_ns)
            waiting += imported(ROOT / at)
    return digest(seen)


def imported(file: Path) -> Iterable[str]:
    """Files of models/ and pipelines/ that a source file imports, at its top or inside its functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [f"{node.module}.{item.name}" for item in node.names] if isinstance(node, ast.ImportFrom) else []
        names += [item.name for item in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            path = Path(*name.split("."))
            if path.parts[0] in ("models", "pipelines"):
                choices = (path.with_suffix(".py"), path / "__init__.py")
                yield from (choice.as_posix() for choice in choices if (ROOT / choice).is_file())
