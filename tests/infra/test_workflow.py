"""The workflow engine, on toy nodes: skip, resume, why, failures, two runs at once."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.ancestry import ancestors, find, tree_lines
from infra.locks import owned
from infra.manifest import ManifestError
from infra.workflow import plan
from infra.workflow import run as workflow_run
from infra.workflow.elsewhere import artifact_at
from infra.workflow.fingerprint import Change, Parts, fingerprint_of
from infra.workflow.graph import roles_wrong
from infra.workflow.node import Refused
from infra.workflow.store import Store
from tests.infra.runs import total, visits
from tests.processes import PATIENCE_SECONDS, until

HERE = Path(__file__).parent
Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]


def test_a_workflow_makes_its_nodes_and_a_second_run_skips_them(toys: Path, stipple_run: Run) -> None:
    code, out, _ = stipple_run()
    assert code == 0
    assert total(toys, "three") == 2 + 2 + 7
    assert "toy/total                             0 -> 7" in out
    code, out, err = stipple_run()
    assert code == 0
    assert err.count("skip: made") == 3
    assert visits(toys, "three") == [1, 2, 3]


def test_dry_run_says_what_would_be_done_and_makes_nothing(toys: Path, stipple_run: Run) -> None:
    code, out, _ = stipple_run("--dry-run")
    assert code == 0
    assert "one    run     never made here" in out
    assert "three  wait    after one, two" in out
    assert not (toys / "store").exists()


def test_code_edited_while_a_workflow_runs_makes_nothing_of_two_versions_unsaid(
    toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import toy_kind

    code = toys / "part.py"
    code.write_text("def f(x):\n    return x + 1\n")
    monkeypatch.setattr(toy_kind, "CODE", (str(code),))
    result, _, err = stipple_run("--set", f"one.fail=edit {code}")
    assert result == 1
    assert f"one    {code} has changed while it was made: parts of it may come from the new code" in err
    assert f"two    failed: {code} has changed since this run began, which has loaded the old code: run the same" in err
    store = Store(toys / "store")
    assert "code edited while it was made" in tree_lines(ancestors(store, find(store, "one")))[0]
    assert not store.slots("two")
    result, _, err = stipple_run()
    assert (result, "one    run: code changed: " in err) == (0, True)
    assert "edited" not in "".join(tree_lines(ancestors(store, find(store, "three"))))


def test_a_node_made_anew_with_the_same_content_keeps_what_follows(toys: Path, stipple_run: Run) -> None:
    stipple_run()
    _, _, err = stipple_run("--set", "one.steps=4")
    assert "one    made in" in err
    assert err.count("skip: made") == 2


def test_a_failed_node_is_a_sentence_and_other_branches_go_on(toys: Path, stipple_run: Run) -> None:
    text = (toys / "w.yaml").read_text()
    (toys / "w.yaml").write_text(text + "  other: {kind: toy, manifest: toy.yaml}\n")
    code, out, err = stipple_run("--set", "two.fail=refuse")
    assert code == 1
    assert "two    failed: the toy does not want to; give it another number" in err
    assert "three  blocked: needs two" in err
    assert total(toys, "other") == 2
    assert "2 of 4 nodes are not made: two, three" in err
    code, _, err = stipple_run("--set", "two.fail=bug")
    assert code == 1
    assert "ZeroDivisionError: a bug in the toy; the traceback is in" in err
    log = Store(toys / "store").slots("two")[0].log
    assert "in stumble" in log.read_text()


def test_a_full_disk_is_a_sentence(stipple_run: Run) -> None:
    code, _, err = stipple_run("--set", "one.fail=full disk")
    assert code == 1
    assert "one    failed: the disk is full (somewhere): free some space and run the same command again" in err


def test_too_little_room_is_refused_before_the_work(stipple_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.workflow.attempt.LEAST_FREE_MB", 10**9)
    code, _, err = stipple_run()
    assert code == 1
    assert "MB free, but one needs 1000000000 MB" in err


def test_from_until_and_force_choose_nodes(toys: Path, stipple_run: Run) -> None:
    code, out, _ = stipple_run("--until", "one")
    assert code == 0
    assert "three" not in out
    code, _, err = stipple_run("--from", "three")
    assert code == 1
    assert "three  blocked: needs two" in err
    stipple_run()
    before = json.loads((Store(toys / "store").slots("one")[0].folder / "COMMIT.json").read_text())
    _, _, err = stipple_run("--force", "one")
    assert "one    run: forced" in err
    assert err.count("skip: made") == 2
    after = json.loads((Store(toys / "store").slots("one")[0].folder / "COMMIT.json").read_text())
    assert after["run"] != before["run"]
    assert list((toys / "store" / "one").glob("*-replaced-1"))


def test_independent_nodes_run_side_by_side(toys: Path, stipple_run: Run) -> None:
    (toys / "toy.yaml").write_text("number: 2\nwait_for: store/n*/*/work/begun\nwait_count: 3\n")
    nodes = "".join(f"  n{n}: {{kind: toy, manifest: toy.yaml}}\n" for n in range(3))
    (toys / "w.yaml").write_text(f"name: wide\nstore: store\ncluster: cluster.yaml\nnodes:\n{nodes}")
    code, out, err = stipple_run("--jobs", "3")  # each waits for all of them
    assert code == 0, err
    assert out.count("made") == 3


def test_two_runs_at_once_make_each_node_once(toys: Path, start: Start) -> None:
    logs = [toys / "first.txt", toys / "second.txt"]
    runs = []
    for log in logs:
        with log.open("wb") as file:
            runs.append(start("--set", "one.wait_for=go", stderr=file))
    until(
        lambda: any("one    waiting: process" in log.read_text() for log in logs),
        what="one run to wait for the other",
        process=runs[0],
    )
    (toys / "go").write_text("")
    for run in runs:
        run.communicate(timeout=PATIENCE_SECONDS)
    told = [log.read_text() for log in logs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(told)
    for node in ("one", "two", "three"):
        assert visits(toys, node) == [1, 2, 3]
        assert len(Store(toys / "store").slots(node)) == 1
    assert any("made meanwhile by another run" in text for text in told)


def test_a_node_that_another_run_begins_while_its_verdict_is_found_is_no_error(
    toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = plan.first_differences

    def late(
        parts: Parts, store: Store, name: str
    ) -> tuple[str, str, list[Change]]:  # when all that there was had been looked at
        slot = store.slot(name, fingerprint_of(parts))
        slot.folder.mkdir(parents=True)
        slot.set_state(fingerprint=fingerprint_of(parts), parts=parts)
        return inner(parts, store, name)

    monkeypatch.setattr(plan, "first_differences", late)
    code, _, err = stipple_run("--until", "one")
    assert code == 0
    assert "one    run: another run has just begun it" in err


def test_a_node_that_another_run_makes_while_its_verdict_is_found_is_not_made_again(
    toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, others = workflow_run.node_plan, list[tuple[int, str, str]]()
    late = iter([True])

    def found(*words: Any, **named: Any) -> Any:
        step = inner(*words, **named)
        if next(late, False):
            others.append(stipple_run())
        return step

    monkeypatch.setattr(workflow_run, "node_plan", found)
    code, _, err = stipple_run()
    assert (code, others[0][0]) == (0, 0)
    assert "one    skip: made meanwhile by another run" in err
    assert len(Store(toys / "store").slots("one")) == 1


def test_another_run_at_work_is_not_waited_for_but_where_it_makes_a_node(toys: Path, stipple_run: Run) -> None:
    (toys / "toy.yaml").write_text("number: 2\nfail: refuse\n")
    assert stipple_run()[0] == 1
    (last,) = Store(toys / "store").workflow_runs("toys")
    with owned(last.folder / ".lock"):  # as by a run that goes on with it, and may wait for a node of ours
        assert stipple_run()[0] == 1
    assert len(Store(toys / "store").workflow_runs("toys")) == 2
    stipple_run()
    assert len(Store(toys / "store").workflow_runs("toys")) == 2


def test_mistakes_of_a_workflow_come_together_with_suggestions(toys: Path, stipple_run: Run) -> None:
    (toys / "w.yaml").write_text(
        "name: wrong\nnodes:\n"
        "  one: {kind: toi, manifest: toy.yaml}\n"
        "  two: {kind: toy, manifest: toys.yaml}\n"
        "  three: {kind: toy, manifest: toy.yaml, inputs: {lift: one}, set: {numbr: 3}}\n"
    )
    with pytest.raises(ManifestError) as caught:
        stipple_run()
    problems = "\n".join(caught.value.problems)
    assert "nodes.one.kind: no kind 'toi'; did you mean 'toy'?" in problems
    assert "nodes.two.manifest: toys.yaml: no such file; did you mean 'toy.yaml'?" in problems
    assert "inputs.lift: a toy takes no 'lift'; did you mean 'left'?" in problems
    assert "numbr: no such key; did you mean 'number'?" in problems


def test_a_role_may_stand_for_all_that_begin_so() -> None:
    kind = SimpleNamespace(ROLES={"data": True, "data_*": False})
    assert roles_wrong("train", cast(Any, kind), roles=["data", "data_emilia", "dat_x"]) == [
        "inputs.dat_x: a train takes no 'dat_x'; did you mean 'data_*'?; its inputs are: data, data_*"
    ]


def test_unknown_nodes_and_circles_are_named(toys: Path, stipple_run: Run) -> None:
    with pytest.raises(ManifestError, match="no node 'tow'; did you mean 'two'"):
        stipple_run("--set", "tow.number=3")
    with pytest.raises(ManifestError, match="no node 'thre'; did you mean 'three'"):
        stipple_run("--until", "thre")
    (toys / "w.yaml").write_text(
        "name: circle\nnodes:\n  a: {kind: toy, manifest: toy.yaml, inputs: {left: b}}\n"
        "  b: {kind: toy, manifest: toy.yaml, inputs: {left: a}}\n"
    )
    with pytest.raises(ManifestError, match="circle: a <- b <- a"):
        stipple_run()


def test_a_single_job_is_kept_in_the_same_store(toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.workflow.single import Where, single

    kinds = {"toy": "toy_kind"}
    where = Where(store=toys / "store", cluster=toys / "cluster.yaml", kinds=kinds)
    stipple_run()
    one = Store(toys / "store").slots("one")[0]
    made = single(
        "toy", toys / "toy.yaml", inputs={"left": one.out / "total.txt"}, overrides={"number": "9"}, where=where
    )
    assert (made.out / "total.txt").read_text() == "11"
    again = single("toy", toys / "toy.yaml", inputs={"left": one.folder}, overrides={"number": "9"}, where=where)
    assert again == made
    with pytest.raises(Refused, match="the toy does not want to"):
        single("toy", toys / "toy.yaml", overrides={"fail": "refuse", "number": "1"}, where=where)
    with pytest.raises(Refused, match="no such file or folder"):
        single("toy", toys / "toy.yaml", inputs={"left": "nowhere"}, where=where)
    with pytest.raises(ManifestError) as caught:
        single("toy", toys / "toy.yaml", overrides={"stps": "9"}, where=where)
    assert str(caught.value) == f"{toys}/toy.yaml: 1 problem\n  stps: no such key; did you mean 'steps'?"
    with monkeypatch.context() as patched:
        patched.setattr("toy_kind.misfits", lambda manifest, inputs: [f"none for {sorted(inputs)}"], raising=False)
        with pytest.raises(ManifestError) as caught:
            single("toy", toys / "toy.yaml", inputs={"left": one.folder, "lft": one.folder}, where=where)
    assert caught.value.problems[0].startswith("inputs.lft: a toy takes no 'lft'; did you mean 'left'?")
    assert caught.value.problems[1:] == ["none for ['left', 'lft']"], "no word of a workflow"
    (toys / "any").mkdir()
    (toys / "any" / "large.bin").symlink_to("/nowhere")  # read, it would be missed
    with pytest.raises(Refused, match=r"any: neither in an artifact of the store .*, nor a corpus .*, nor a bundle"):
        single("toy", toys / "toy.yaml", inputs={"left": toys / "any"}, where=where)
    with pytest.raises(Refused, match=r"left unfinished with these values \(number: 1 -> 2\); to begin, use run"):
        single("toy", toys / "toy.yaml", overrides={"number": "2"}, resume=True, where=where)
    assert single("toy", toys / "toy.yaml", overrides={"number": "1"}, resume=True, where=where).name == "toy"
    with pytest.raises(Refused, match=r"left unfinished with these values \(made "):
        single("toy", toys / "toy.yaml", overrides={"number": "1"}, resume=True, where=where)


def test_a_corpus_from_elsewhere_is_known_by_its_own_digest(tmp_path: Path) -> None:
    corpus, store = tmp_path / "copy", Store(tmp_path / "store")
    (corpus / "shards").mkdir(parents=True)
    (corpus / "corpus.json").write_text(json.dumps({"name": "emilia", "digest": "d" * 32}))
    (corpus / "shards" / "0.tar").write_bytes(b"sound")
    before = artifact_at(corpus, store)
    assert (before.kind, before.name, before.digest, before.out) == ("corpus", "emilia", "d" * 32, corpus)
    (corpus / "tombstones.jsonl").write_text("a speaker was taken down meanwhile")
    (corpus / "shards" / "0.tar").unlink()
    assert artifact_at(corpus, store) == before
    (corpus / "corpus.json").write_text("{")
    with pytest.raises(Refused, match="torn, or no card of a corpus"):
        artifact_at(corpus, store)
