"""What a takedown erases in work folders: of all results, only those are read in which one of its words stands."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.ledger import Fate, Sound, UnitResult, load, result_path, save, sound_path
from pipelines.policy import erasing
from pipelines.policy.erasing import erase
from pipelines.policy.tombstones import COLUMNS, Tombstone
from pipelines.policy.withdrawn import Withdrawn
from pipelines.row import as_row
from pipelines.sealing import SoundFile
from tests.pipelines.corpora import segment

NAMES = (
    "a.wav",
    'say "a".wav',
    "gr\u00fc\u00df \u4f60\u597d.wav",
    "tab\tand\\back\u2028.wav",
    "\x7f\x01.wav",
    "plain.wav",
)


def work_of(root: Path) -> Path:
    """A unit for each name; in all columns that a tombstone looks at, the name with something before it."""
    for number, name in enumerate(NAMES):
        result = UnitResult(unit=f"{number:024x}", chain="0123456789ab")
        with SoundFile(sound_path(root, unit=result.unit, chain=result.chain)) as sound:
            told: dict[str, Any] = {"source": f"u {name}", "speaker": f"v {name}", "given_speaker": f"g {name}"}
            row = as_row(replace(segment(number), recording=name, pcm_sha256=f"{99 + number:064x}", **told))
            place = (Sound("segment", sound.put(b"sound"), 5),)
            facts: dict[str, Any] = {"status": "ready", "transform": "mos", "sounds": place, "segment": row}
            result.fates += [
                Fate(recording=name, seconds=1.0, **facts),
                Fate(name, 1.0, "dropped", "segment", "between"),
            ]
            save(root, result, sound)
    return root


def tombstones() -> list[tuple[Withdrawn, set[str]]]:
    """By every field and name, by interval, by key, by several at once, and by a word that nothing has."""
    rows = [as_row(segment(number)) for number in range(len(NAMES))]
    values = {
        "recording": NAMES, "url": [f"u {name}" for name in NAMES], "key": [row["key"] for row in rows],
        "speaker": [f"{letter} {name}" for letter in "gv" for name in NAMES],
        "sha256": [*(row["recording_sha256"] for row in rows), *(f"{99 + number:064x}" for number in range(3))],
    }  # fmt: skip
    assert values.keys() == COLUMNS.keys()
    made = [Tombstone(field=field, values=(value,), corpus=None, why="asked", who="me", when="2026")
            for field, some in values.items() for value in some]  # fmt: skip
    made.append(replace(made[0], values=("nobody",), spans=((rows[4]["recording_sha256"], 0.0, 1e9),)))
    made += [replace(made[0], values=("nobody", "plain.wav")), replace(made[0], values=("nobody",))]
    made.append(replace(made[0], field="url", values=("",)))
    alone = [(Withdrawn([item], "toy"), set[str]()) for item in made]
    return [*alone, (Withdrawn([], "toy"), {rows[2]["key"]}), (Withdrawn([], "toy"), {rows[1]["key"], "no key"})]


def test_no_result_is_passed_over_that_holds_what_is_taken_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    erased = 0
    for withdrawn, keys in tombstones():
        found = []
        for most in (64, -1):  # -1: every segment of every result is read
            monkeypatch.setattr(erasing, "MOST_WORDS", most)
            work = work_of(tmp_path / str(next(numbers)))
            count = erase(work, withdrawn, keys=keys)
            assert erase(work, withdrawn, keys=keys) == 0
            found.append([count, *(path.read_bytes() for path in sorted((work / "units").iterdir()))])
        assert found[0] == found[1]
        erased += found[0][0]
    assert erased == 6 + 6 + 6 + 12 + 9 + 1 + 1 + 1 + 1


def test_results_without_its_words_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, parsed = work_of(tmp_path), list[str]()
    read = erasing.facts_in
    monkeypatch.setattr(erasing, "facts_in", lambda line, path: parsed.append(path.name) or read(line, path))
    tombstone = Tombstone(field="recording", values=(NAMES[1],), corpus="toy", why="asked", who="me", when="2026")
    assert erase(work, Withdrawn([tombstone], "toy"), keys=set()) == 1
    assert {name.split(".")[0] for name in parsed} == {f"{1:024x}"}
    result = load(result_path(work, unit=f"{1:024x}", chain="0123456789ab"))
    assert [fate.status for fate in result.fates] == ["dropped", "dropped"]
