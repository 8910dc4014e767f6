"""Why a node is made, and how what is made of other values is told apart."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.workflow.fingerprint import name_apart, sentences
from infra.workflow.store import Store

Run = Callable[..., tuple[int, str, str]]


def test_why_names_the_first_field_that_differs(toys: Path, stipple_run: Run) -> None:
    stipple_run()
    _, out, _ = stipple_run("--why", "two", "--set", "two.number=6", "--set", "two.steps=4")
    assert out.splitlines()[0] == "two: number: 5 -> 6"
    assert "also steps: 3 -> 4" in out
    assert "nearest earlier fingerprint" in out
    _, out, _ = stipple_run("--why", "two")
    assert "nothing differs" in out


def test_why_names_the_file_whose_code_changed(toys: Path, stipple_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import toy_kind

    code = toys / "part.py"
    code.write_text("def f(x):\n    return x + 1\n")
    monkeypatch.setattr(toy_kind, "CODE", (str(code),))
    stipple_run()
    code.write_text('def f(x):\n    """Now with words."""\n    # and a comment\n    return x + 1\n')
    os.utime(code, (1, 1))
    _, out, _ = stipple_run("--why", "one")
    assert "nothing differs" in out
    code.write_text("def f(x):\n    return x + 2\n")
    _, out, _ = stipple_run("--why", "one")
    assert out.startswith("one: code changed: ")
    assert "part.py" in out


def test_runs_with_other_values_are_told_apart_by_name_and_description(toys: Path, stipple_run: Run) -> None:
    stipple_run()
    _, _, err = stipple_run("--until", "two", "--set", "two.number=6", "--set", "two.steps=4")
    assert "two    run: number: 5 -> 6; steps: 3 -> 4\n" in err
    new = Store(toys / "store").slots("two")[0]
    assert json.loads((new.journal / "run.json").read_text())["name"] == "two number=6 steps=4"
    assert new.state()["differs"].endswith(": number: 5 -> 6; steps: 3 -> 4")
    tags = [json.loads(line) for line in (new.journal / "driver.jsonl").read_text().splitlines()]
    notes = [one["v"]["mlflow.note.content"] for one in tags if one["t"] == "tags" and "node" in one["v"]]
    assert new.state()["differs"] in notes[0]


def test_name_of_a_run_stays_short() -> None:
    changes = [(f"identity.a.k{n}", "1", f'"{n}"') for n in range(4)] + [
        ("code.x.py", "1", "2"),
        ("inputs.data", "1", "2"),
    ]
    assert name_apart("two", changes[:1]) == "two k0=0"
    assert name_apart("two", changes) == "two k0=0 k1=1 k2=2 +3"
    assert name_apart("two", changes[4:]) == "two new code new data"
    assert name_apart("two", []) == "two"


def test_many_files_with_other_code_are_one_difference() -> None:
    changes = [("code.x.py", "1", "2"), ("identity.steps", "1", "2"), ("code.y.py", "1", "2"), ("code.z.py", "1", "2")]
    assert sentences(changes) == ["steps: 1 -> 2", "code changed: x.py and 2 more files"]
    assert sentences(changes[:2]) == ["code changed: x.py", "steps: 1 -> 2"]


def test_why_names_the_input_that_changed(toys: Path, stipple_run: Run) -> None:
    stipple_run()
    _, out, _ = stipple_run("--until", "one", "--set", "one.number=3")
    _, out, _ = stipple_run("--why", "two", "--set", "one.number=3")
    assert out.startswith("two: input left changed: ")


def test_a_key_that_decides_nothing_changes_no_fingerprint(stipple_run: Run) -> None:
    stipple_run()
    _, _, err = stipple_run("--set", "one.note=anything")
    assert err.count("skip: made") == 3
