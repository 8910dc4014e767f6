"""The manifest of a corpus: where it comes from, what is measured, what is kept."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from infra.manifest import Entry, Manifest, entry_of, resolve
from pipelines.policy.licenses import Use
from pipelines.row import score_owner

if TYPE_CHECKING:
    ReaderEntry = Entry
    TransformEntry = Entry
    FilterEntry = Entry
else:
    ReaderEntry = entry_of("pipelines.readers")
    TransformEntry = entry_of("pipelines.transforms")
    FilterEntry = entry_of("pipelines.filters")

FIRST = ("probe", "diarize", "segment")
"""Transforms that make the clips which all others work on; `diarize` may be left out."""


class Shards(Manifest):
    """How samples are packed."""

    soft_mb: float = Field(default=1024, gt=0, le=1280)
    """A shard is closed before it would grow over this."""
    audio: Literal["flac"] = "flac"
    members: tuple[Literal["latent", "spk"], ...] = ()
    """Arrays that go with each sample: `<key>.latent.npy`, from the transform latents, and `<key>.spk.npy`, the
    x-vector from the transform speaker."""


class Units(Manifest):
    """How much one worker takes at a time: a unit is what is lost when a worker dies."""

    max_mb: float = Field(default=64, gt=0)
    """Bytes of recordings as delivered."""
    max_recordings: int = Field(default=512, ge=1)


class Errors(Manifest):
    """How much may fail before the job says that something is wrong with all of it."""

    max_failed_share: float = Field(default=0.05, ge=0, le=1)
    """Of the recordings. Corrupt files count, recordings without speech do not."""
    max_worker_deaths: int = Field(default=20, ge=3)
    """Of workers that died on the same unit."""


class Worker(Manifest):
    """What one worker holds while it works, of the resources of the cluster."""

    cpus: float = Field(default=1, gt=0)
    gpus: float = Field(default=0, ge=0)
    """A share of a GPU, such as 0.25, lets so many workers use one together."""
    memory_mb: int | None = Field(default=None, ge=1)
    """Ray starts no more workers on a machine than its memory holds."""


class CorpusManifest(Manifest):
    """What a corpus is made from, and how."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    purpose: str = ""
    """A sentence for people."""
    source: str = ""
    """Where the recordings were obtained; for recordings that do not say it themselves, like the next two."""
    license: str = "unknown"
    language: str | None = None
    allow_evaluation: bool = False
    """Let recordings of evaluation sets (test and dev parts, FLEURS, prompts) into the shards: for a corpus to measure
    with, never to train on."""
    reader: ReaderEntry = Field(default="jsonl", validate_default=True)
    """Layout of the input. `jsonl` reads a catalog, which is what the recordings node of a workflow makes."""
    transforms: list[TransformEntry] = Field(min_length=2)
    """In order; `probe` and `segment` first, or `probe`, `diarize` and `segment`."""
    keep: list[FilterEntry] = []
    """A segment that any of these refuses is dropped."""
    tiers: dict[str, list[FilterEntry]] = {}
    """Name -> filters. A segment belongs to the first tier whose filters all pass, and is dropped where none does."""
    allow: list[Use] = []
    """Uses that the license of every sample must allow; what is not known is not allowed."""
    shards: Shards = Shards()
    units: Units = Units()
    errors: Errors = Errors()
    workers: int | None = Field(default=None, ge=1)
    """Processes that work on units; as many as the cluster has room for by default."""
    worker: Worker = Worker()

    @model_validator(mode="after")
    def _fits_together(self) -> "CorpusManifest":
        names = [entry.name for entry in self.transforms]
        first = [name for name in FIRST if name != "diarize" or name in names]
        if names[: len(first)] != first or len(set(names)) != len(names):
            raise ValueError(f"transforms: begin with {', '.join(first)}, and name each one once (they are: {names})")
        wrong = [
            f"transforms: {name} reads {field}, which {owner} sets; put {owner} before it"
            for number, name in enumerate(names)
            for field in getattr(resolve("pipelines.transforms", name), "READS", ())
            if (owner := score_owner(field)) in names[number:]
        ]
        for member, owner in (("latent", "latents"), ("spk", "speaker")):
            if member in self.shards.members and owner not in names:
                wrong.append(f"shards.members: {member} is what the transform {owner} makes; add it")
        if "latents" in names:
            later = names[names.index("latents") + 1 :]
            if "latent" not in self.shards.members:
                wrong.append("transforms: latents are encoded for the shards; add latent to shards.members")
            wrong += [
                f"transforms: {name} may change the waveform that latents has encoded; put latents after it"
                for name in later
                if getattr(resolve("pipelines.transforms", name), "CHANGES_WAVE", False)
            ]
        for place, entry in self.filters():
            score = str(resolve("pipelines.filters", entry.name).SCORE)
            owner = score_owner(score)
            if owner is not None and owner not in names:
                wrong.append(f"{place}: {entry.name} judges {score}, which the transform {owner!r} sets; add it")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def filters(self) -> Iterator[tuple[str, Entry]]:
        """Every filter of the manifest, with the path of the list it stands in."""
        yield from (("keep", entry) for entry in self.keep)
        yield from ((f"tiers.{tier}", entry) for tier, entries in self.tiers.items() for entry in entries)


def semantic(manifest: CorpusManifest) -> Mapping[str, Any]:
    """What of the manifest decides the bytes of the corpus: not how many workers, nor how much may go wrong."""
    return manifest.model_dump(mode="json", exclude={"purpose", "workers", "worker", "errors", "units"})
