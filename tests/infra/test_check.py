"""`stipple check` reads every manifest, and reports every mistake of every file at once."""

import argparse
from pathlib import Path

import pytest

from infra import check
from infra.manifest import Manifest, ManifestError, load, parse, read_yaml
from infra.workflow.manifest import WorkflowManifest

ROOT = Path(__file__).resolve().parents[2]


def test_every_manifest_of_the_project_is_valid() -> None:
    files = check.files_in([ROOT / "manifests"])
    assert {path.relative_to(ROOT / "manifests").parts[0] for path in files} == set(check.FOLDERS)
    for file in files:
        check.check(file)


def test_all_mistakes_of_all_files_come_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, text in {
        "clusters/a.yaml": "adress: local\ncpus: 0\n",
        "workflows/b.yaml": "name: b\nnodes: {x: {kind: corpus, manifest: none.yaml, inputs: {recordings: y}}}\n",
        "clusters/c.yaml": "address: [\n",
    }.items():
        path = tmp_path / "manifests" / folder
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    code = check.main(argparse.Namespace(paths=[tmp_path / "manifests"]))
    out = capsys.readouterr().out
    assert code == 2
    assert "adress: no such key; did you mean 'address'?" in out
    assert "cpus: Input should be greater than or equal to 1 (it is 0)" in out
    assert "nodes.x.inputs.recordings: no node 'y'" in out
    assert "not YAML" in out
    assert "4 mistakes in 3 manifests" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("a=[", "--set a=[: the value is not YAML"),
        ("parts.2.x=1", "--set parts.2.x: '2' is no place in a list of 2: count from 0"),
        ("parts.x=1", "--set parts.x: 'x' is no place in a list of 2"),
        ("name.x=1", "--set name.x: 'name' is a value, not a table"),
        ("name=2026-99-99", "--set name=2026-99-99: the value is not YAML; quote it, or close it (month must be in"),
        ("name={a: 1, a: 2}", "--set name={a: 1, a: 2}: the value is not YAML; quote it, or close it (the key 'a'"),
        (f"parts.{'9' * 5000}=1", "--set parts.999"),
    ],
)
def test_what_cannot_be_set_is_a_sentence(words: str, told: str) -> None:
    key, _, value = words.partition("=")
    with pytest.raises(ManifestError) as caught:
        parse(Manifest, {"name": "n", "parts": [{}, {}]}, where="m.yaml", overrides={key: value})
    assert caught.value.problems[0].startswith(told)


def test_a_store_is_a_folder_and_a_workflow_has_a_name_for_one() -> None:
    nodes = {"x": {"kind": "corpus", "manifest": "m.yaml"}}
    with pytest.raises(ManifestError, match="store: a store is a folder, which jobs work in"):
        parse(WorkflowManifest, {"name": "w", "nodes": nodes, "store": "s3://bucket/store"}, where="w.yaml")
    with pytest.raises(ManifestError, match="name: String should match pattern"):
        parse(WorkflowManifest, {"name": "../w", "nodes": nodes}, where="w.yaml")


def test_a_folder_without_a_manifest_is_no_valid_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no .yaml file in this folder"):
        check.files_in([ROOT / "manifests", tmp_path])


def test_a_file_outside_the_known_folders_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{}")
    with pytest.raises(ManifestError, match="what is it?"):
        check.check(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: 5\nseed: 1\nsteps: 500\n", "not YAML: the key 'steps' stands twice in one table"),
        ("data: {held_out: 1, held_out: 2}\n", "not YAML: the key 'held_out' stands twice in one table"),
        ("day: 2026-99-99\n", "not YAML: month must be in 1..12"),
        ("when: !!timestamp x\n", "not YAML: "),
        (f"seed: {'9' * 5000}\n", "not YAML: Exceeds the limit"),
        (f"deep: {'[' * 3000}{']' * 3000}\n", "not YAML: tables or lists lie in one another too deeply"),
    ],
)
def test_a_file_that_yaml_cannot_read_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ManifestError) as caught:
        load(Manifest, tmp_path / "m.yaml")
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(told)


def test_a_key_may_be_stated_otherwise_than_in_the_tables_that_are_merged() -> None:
    text = "one: &one {a: 1, b: 1}\ntwo: {inner: &two {<<: *one, a: 2}}\nthree: {<<: *two, b: 3}\n"
    assert read_yaml(text) == {"one": {"a": 1, "b": 1}, "two": {"inner": {"a": 2, "b": 1}}, "three": {"a": 2, "b": 3}}
