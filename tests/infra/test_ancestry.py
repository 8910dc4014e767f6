"""What an artifact was made from, told by the store alone: the tree, how to name an artifact, and the page."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.ancestry import ancestors, find, tree_lines
from infra.comparison import compared
from infra.workflow.elsewhere import bundle_named, place_named
from infra.workflow.node import Refused
from infra.workflow.store import Store

Run = Callable[..., tuple[int, str, str]]


def test_the_tree_goes_back_to_the_sources_without_mlflow(toys: Path, stipple_run: Run) -> None:
    stipple_run()
    store = Store(toys / "store")
    catalog = [{"name": f"a/{n}.wav", "license": "CC-BY-4.0", "source": "https://example.org/a"} for n in range(5)] + [
        {"name": "b.flac", "license": "CC0-1.0", "source": "mine", "text": "one line\u2028of two"}
    ]
    slot = find(store, "one")
    (slot.out / "recordings.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in catalog))
    commit = json.loads((slot.folder / "COMMIT.json").read_text())
    (slot.folder / "COMMIT.json").write_text(json.dumps(commit | {"kind": "recordings"}))
    lines = tree_lines(ancestors(store, find(store, "three")))
    assert lines[0].startswith("three@")
    assert lines[1].startswith("|- left  one@")
    assert lines[2] == "|  |- 5 files  CC-BY-4.0  https://example.org/a: a/0.wav, a/1.wav, a/2.wav, and 2 more"
    assert lines[3] == "|  `- 1 file  CC0-1.0  mine: b.flac"
    assert lines[4].startswith("`- right  two@")
    assert lines[5].endswith("(see above)")


def test_an_artifact_is_found_by_name_digest_run_and_path(toys: Path, stipple_run: Run) -> None:
    stipple_run()
    store = Store(toys / "store")
    slot = find(store, "two")
    made = slot.made()
    assert made is not None
    bundle = toys / "copied" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "stipple.json").write_text(json.dumps({"run": made.run}))
    ways = [f"two@{made.digest[:6]}", made.run[:8], made.fingerprint[:12], str(slot.out / "total.txt"), str(bundle)]
    assert all(find(store, way).folder == slot.folder for way in ways)
    with pytest.raises(Refused, match="no 'four' in .*; there are: one, three, two"):
        find(store, "four")


def test_what_is_made_is_named_where_its_folder_could_be(toys: Path, stipple_run: Run) -> None:
    stipple_run()
    store = Store(toys / "store")
    slot = find(store, "two")
    commit = json.loads((slot.folder / "COMMIT.json").read_text())
    (slot.folder / "COMMIT.json").write_text(
        json.dumps(commit | {"kind": "corpus", "manifest": {"name": "read-speech"}})
    )
    named = ("two", "read-speech", f"read-speech@{commit['digest'][:6]}", commit["run"][:8])
    assert {place_named(word, store) for word in named} == {slot.out}
    assert place_named(toys, store) == toys
    assert place_named("read-speech", store, kind="corpus") == slot.out
    with pytest.raises(Refused, match="no 'one' in .*; there are: two$"):
        place_named("one", store, kind="corpus")
    (store.root / "_selections" / "long_ones").mkdir(parents=True)
    assert place_named("long_ones", store, kind="corpus") == store.root / "_selections" / "long_ones"
    assert bundle_named("owner/model", store) == "owner/model"
    with pytest.raises(Refused, match=r"four: no such file or folder, and no 'four' in .*; there are: one, three, two"):
        place_named("four", store)


def test_two_artifacts_are_compared_down_to_what_their_inputs_differ_in(toys: Path, stipple_run: Run) -> None:
    stipple_run()
    stipple_run("--set", "one.number=3", "--set", "three.steps=4", "--set", "three.note=again")
    store = Store(toys / "store")

    def lines(name: str) -> list[str]:
        new, old = (ancestors(store, find(store, slot.folder.name[:8])) for slot in store.slots(name))
        return compared(old, new)

    told = lines("three")
    assert re.fullmatch(r"three@\w{8} \(\w{8}\) -> three@\w{8} \(\w{8}\)", told[0])
    assert told[1] == "  steps: 3 -> 4"
    assert [line.split(" changed: ")[0] for line in told[2:4]] == ["  input left", "  input right"]
    assert told[4] == '  decides nothing: note: "" -> "again"'
    assert told[5].startswith("left: one@")
    assert told[6] == "  number: 2 -> 3"
    assert told[7].startswith("right: two@")
    assert told[8].startswith("  input left changed: ")
    assert len(told) == 9  # `one` below `two` was told
    assert lines("one")[1:] == ["  number: 2 -> 3"]
    own = ancestors(store, find(store, "one"))
    assert compared(own, own)[1:] == ["  nothing differs that decides the artifact, and they are the same"]


def test_in_a_copied_store_the_newest_is_what_was_made_last(toys: Path, stipple_run: Run) -> None:
    stipple_run("--until", "one")
    stipple_run("--until", "one", "--set", "one.number=3")
    store = Store(toys / "store")
    newest, oldest = store.slots("one")
    for file in (oldest.folder / "state.json", oldest.folder / "COMMIT.json"):
        os.utime(file)
    for file in (newest.folder / "state.json", newest.folder / "COMMIT.json"):
        os.utime(file, (1, 1))
    assert find(store, "one").folder == newest.folder
    _, out, _ = stipple_run("--dry-run", "--until", "one", "--set", "one.number=3")
    assert re.search(r"one +skip +made \d+\.\d s ago", out)


def test_the_page_of_a_workflow_stands_alone(toys: Path, stipple_run: Run) -> None:
    stipple_run()
    page = (Store(toys / "store").workflow_runs("toys")[0].out / "lineage.html").read_text()
    assert page.count("<rect") == 3
    assert page.count("marker-end") == 3
    assert "three@" in page
    assert "src=" not in page
    assert "href=" not in page
