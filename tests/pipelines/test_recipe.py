"""What a transform depends on: the code that it reaches, by an import or by a name in its settings; no comments."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.manifest import parse
from pipelines import recipe
from pipelines.manifest import CorpusManifest


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A transform, a file that it imports, and one that a setting names."""
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    for file, text in {
        "pipelines/transforms/enhance.py": "from pipelines.hearing.opinion import GATE\n\nHALF = GATE / 2\n",
        "pipelines/hearing/opinion.py": "GATE = 1\n",
        "models/frozen/rnnoise.py": "WET = 1\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(text)
    return tmp_path


def digest_of(settings: object) -> str:
    return recipe.source_digest.__wrapped__(("pipelines/transforms/enhance.py", *recipe.files_named(settings)))


@pytest.mark.parametrize(
    "file", ["pipelines/transforms/enhance.py", "pipelines/hearing/opinion.py", "models/frozen/rnnoise.py"]
)
def test_code_counts_and_comments_do_not(checkout: Path, file: str) -> None:
    settings = {"backend": "rnnoise", "wet": 0.8, "checkpoint": None}
    first, text = digest_of(settings), (checkout / file).read_text()
    (checkout / file).write_text(f'"""What it is for."""\n\n{text}# a remark\n')
    assert digest_of(settings) == first
    (checkout / file).write_text(text + "MORE = 1\n")
    assert digest_of(settings) != first


def test_the_record_of_a_segment_is_no_code_of_the_transforms_that_import_it(checkout: Path) -> None:
    with (checkout / "pipelines/transforms/enhance.py").open("a") as file:
        file.write("from pipelines.row import Segment\n")
    before = digest_of({})
    (checkout / "pipelines/row.py").write_text("class Segment: ...\n")
    assert digest_of({}) == before


def test_files_are_named_anywhere_in_the_settings() -> None:
    assert recipe.files_named({"routes": {"en": ["moonshine", "faster_whisper"], "zh": ["moonshine"]}}) == [
        "models/frozen/faster_whisper.py",
        "models/frozen/moonshine.py",
    ]
    assert recipe.files_named({"backend": "windows", "embedder": "resemblyzer", "checkpoint": "/etc/x.pt"}) == [
        "models/frozen/resemblyzer.py",
        "pipelines/diarizers/windows.py",
    ]


def test_what_changed_is_named_alone() -> None:
    manifest = parse(
        CorpusManifest, {"name": "toy", "transforms": [{"name": "probe"}, {"name": "segment"}]}, where="toy"
    )
    spec = recipe.recipe(manifest, weights={"probe": "", "segment": "silero/1"})["segment"]
    assert recipe.changes(spec, spec.facts()) == ""
    assert recipe.changes(replace(spec, weights="silero/2"), spec.facts()) == "its weights changed"
    assert recipe.changes(replace(spec, code="0"), spec.facts()) == "its code changed"
