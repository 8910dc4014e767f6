"""Sums, bins and picks out of the ledger's columns are those that its rows give, one by one."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.audit import columns as module
from pipelines.audit.bins import binned
from pipelines.audit.coded import coded
from pipelines.audit.columns import Columns
from pipelines.audit.funnel import cube
from pipelines.audit.labels import label_hours
from pipelines.audit.picks import at_limits, in_doubt, picks, rejected, stratified, worst
from pipelines.audit.scores import Limit, limits
from pipelines.audit.sections import cross
from pipelines.ledger import read_ledger
from tests.pipelines.audit.corpora import MANIFEST, build, fate, segment, twelve


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> Columns:
    return Columns(build(tmp_path_factory.mktemp("corpus"), twelve()))


def random() -> np.random.Generator:
    return np.random.default_rng(1)


def test_columns_are_those_of_the_rows(columns: Columns) -> None:
    rows = read_ledger(columns.root)
    assert columns.count == len(rows)
    assert columns.kept.tolist() == [row["status"] == "kept" for row in rows]
    assert columns.segment.tolist() == [row["key"] is not None for row in rows]
    found = columns.numbers("mos_overall")
    assert [None if np.isnan(value) else value for value in found] == [row["mos_overall"] for row in rows]
    languages = [columns.language.names[code] for code in columns.language.codes]
    assert languages == [row["language"] or row["given_language"] or "unknown" for row in rows]
    assert [columns.reasons.coded.names[code] if code >= 0 else None for code in columns.reasons.first] == [
        row["reasons"][0] if row["reasons"] else None for row in rows
    ]
    texts = [len(row["text"].replace(" ", "")) / row["seconds"] if row["text"] else None for row in rows]
    rates = columns.numbers("chars_per_second")
    assert [None if np.isnan(value) else value for value in rates] == pytest.approx(texts)


def test_a_part_of_a_recording_has_the_source_of_its_segments(columns: Columns) -> None:
    sources = [columns.source.names[code] for code in columns.source.codes]
    assert sources == ["a desk"] * 13 + ["not stated"], "the pauses of r11.wav are a desk's, too"


def test_only_what_is_shown_is_read_as_rows(columns: Columns) -> None:
    found = columns.shown([3, 11, 3])
    assert sorted(found) == [3, 11]
    assert found[11]["key"] == f"key{11:023d}"
    assert "xvector" not in found[11]


def test_the_cube_adds_up_to_the_ledger(columns: Columns) -> None:
    cells = cube(columns)
    assert sum(cell[4] for cell in cells) == pytest.approx(sum(columns.hours))
    by_reason = {cell[3]: 0.0 for cell in cells}
    for cell in cells:
        by_reason[cell[3]] += cell[4]
    assert by_reason == pytest.approx(
        {"": 6 / 3600, "mos": 6 / 3600, "between": 0.5 / 3600, "decode": 0, "duration": 0}
    )
    any_of = sum(cell[5] for cell in cells if cell[3] == "duration")
    only = sum(cell[6] for cell in cells if cell[3] == "mos")
    assert (any_of, only) == pytest.approx((2 / 3600, 4 / 3600))
    assert sum(cell[7] for cell in cells) == columns.count


def test_bins_part_at_the_limits_and_hold_every_hour(columns: Columns) -> None:
    found = binned(columns, "mos_overall", limits=list(limits(MANIFEST)))
    assert found is not None
    assert found.edges[found.low] == 2.0
    assert found.high == len(found.edges) - 1
    assert sum(found.kept[: found.low]) == 0
    assert sum(found.kept[found.low :]) == pytest.approx(6 / 3600)
    assert sum(found.alone) == pytest.approx(4 / 3600), "two of the six are too short as well"
    assert sum(found.other) == pytest.approx(2 / 3600)
    assert sum(found.kept + found.alone + found.other) == pytest.approx(12 / 3600)


def test_another_limit_keeps_what_the_bins_say(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    values = draw.uniform(1, 5, 400).round(2).tolist()
    rows = [
        fate(
            segment(n, mos_overall=value, seconds=2.0), *(["mos"] if value < 3 else []), *(["duration"] * (n % 7 == 0))
        )
        for n, value in enumerate(values)
    ]
    columns = Columns(build(tmp_path, rows))
    three = [Limit("mos", "mos_overall", "min", 3.0, "keep")]
    found = binned(columns, "mos_overall", limits=three)
    assert found is not None
    for edge in (0, found.low, 12, 30, 41):
        expected = sum(2.0 for n, value in enumerate(values) if value >= found.edges[edge] and n % 7) / 3600
        assert float(np.sum((found.kept + found.alone)[edge:])) == pytest.approx(expected), edge


def test_a_highest_value_is_kept_itself(tmp_path: Path) -> None:
    rows = [fate(segment(n, seconds=float(n)), *(["duration"] if n > 30 else [])) for n in range(28, 34)]
    columns = Columns(build(tmp_path, rows))
    found = binned(columns, "seconds", limits=list(limits(MANIFEST)))
    assert found is not None
    assert float(np.sum(found.kept[: found.high])) * 3600 == pytest.approx(28 + 29 + 30)
    assert float(np.sum(found.kept[found.high :])) == 0


def test_limits_are_those_of_the_manifest_that_have_a_number_also_by_language() -> None:
    table = {"name": "snr", "settings": {"min": {"en": 20, "other": 15.0}}}
    found = set(limits({"keep": [*MANIFEST["keep"], table, {"name": "edges", "settings": {}}], "tiers": {}}))
    assert found == {
        Limit("mos", "mos_overall", "min", 2.0, "keep"),
        Limit("duration", "seconds", "min", 1.0, "keep"),
        Limit("duration", "seconds", "max", 30.0, "keep"),
        Limit("snr", "snr_db", "min", 20.0, "keep", "en"),
        Limit("snr", "snr_db", "min", 15.0, "keep", "other"),
    }
    assert {limit.place for limit in limits(MANIFEST)} == {"keep", "clean"}


def test_samples_come_from_every_language_source_and_tier(tmp_path: Path) -> None:
    rows = [fate(segment(n, language="en")) for n in range(90)]
    rows += [fate(segment(90, language="zh")), fate(segment(91, language=None, source="a street"), tier="rest")]
    columns = Columns(build(tmp_path, rows))
    drawn = stratified(columns, 6, random=random())
    assert len(set(drawn.tolist())) == 6
    assert {90, 91} <= set(drawn.tolist())
    assert drawn.tolist() == stratified(columns, 6, random=random()).tolist()
    assert drawn.tolist() != stratified(columns, 6, random=np.random.default_rng(2)).tolist()


def test_picks_are_the_worst_the_nearest_and_the_rejected(columns: Columns) -> None:
    assert [row for pick in worst(columns, 2) for row in pick.rows] == [6, 7]
    near = {pick.title: pick.rows.tolist() for pick in at_limits(columns, list(limits(MANIFEST)), 2)}
    assert near["Quality, overall, just below 2 (mos in keep)"] == [5, 4]
    assert near["Quality, overall, just above 2 (mos in keep)"] == [6, 7]
    (lost,) = rejected(columns, 4, random=random())
    assert lost.title == "mos (6)"
    assert len(lost.rows) == 4
    assert set(lost.rows.tolist()) <= set(range(6))


def test_clips_at_a_limit_are_of_the_languages_that_it_is_for(columns: Columns) -> None:
    table = {"name": "mos", "settings": {"min": {"de": 1.5, "other": 2.5}}}
    near = {pick.title: pick.rows.tolist() for pick in at_limits(columns, list(limits({"keep": [table]})), 2)}
    assert near["Quality, overall, just below 1.5 (mos in keep, de)"] == [3, 0]
    assert near["Quality, overall, just below 2.5 (mos in keep, other)"] == [7, 5], "6 is German"


def test_clips_in_doubt_are_those_on_which_judges_differ(tmp_path: Path) -> None:
    rows = [fate(segment(n, mos_overall=n / 4, heard_cer=(n % 5) / 10)) for n in range(12)]
    rows[3]["caption_conflicts"] = ["pitch: low is claimed, 300 Hz is measured"]
    rows[5] |= {"hallucination": ["loop"], "language_agrees": False}
    columns = Columns(build(tmp_path, rows))
    found = {pick.title: pick.rows.tolist() for pick in in_doubt(columns, 2)}
    assert found["Heard against given text: where they differ most"] == [4, 9]
    assert found["Captions that the measures deny"] == [3]
    assert found["Texts that look made up"] == found["Texts in another language than the sound"] == [5]


def test_tables_and_labels_tell_hours(columns: Columns) -> None:
    assert label_hours(columns, "bandwidth_cliff") == [
        ("no", pytest.approx(3 / 3600), pytest.approx(3 / 3600)),
        ("yes", pytest.approx(3 / 3600), pytest.approx(3 / 3600)),
    ]
    table = cross(columns, columns.language, columns.source, rows=5, across=5)
    assert "<td>en</td><td>4.0 s <small>of 8.0 s</small>" in table
    assert "<td>unknown</td><td>0.0 s <small>of 0.5 s</small>" in table


def lines_of(corpus: Path) -> int:
    """How many lines of Python are run to bin, sum and pick what a page shows of a corpus."""
    count, columns, found = 0, Columns(corpus), list(limits(MANIFEST))

    def tell(frame: Any, event: str, given: Any) -> Any:
        nonlocal count
        count += event == "line"
        return tell

    before = sys.gettrace()
    sys.settrace(tell)
    try:
        chosen = list(picks(columns, limits=found, random=random(), each=4))
        for score in columns.score_names:
            binned(columns, score, limits=found)
        cube(columns)
        rows = columns.shown([int(row) for pick in chosen for row in pick.rows])
    finally:
        sys.settrace(before)
    assert len(rows) < 200
    return count


def test_python_does_not_go_over_the_rows_of_a_large_ledger(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    corpus = build(tmp_path, twelve())
    few = lines_of(corpus)
    table = parquet.read_table(corpus / "ledger.parquet").slice(0, 12)
    parquet.write_table(pyarrow.concat_tables([table] * 1000), corpus / "ledger.parquet", row_group_size=8192)
    assert lines_of(corpus) < few + 1000, "12,000 rows: a line for every twelfth"


def test_what_is_read_in_parts_is_the_same_and_few_columns_are_kept(
    columns: Columns, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parted = Columns(columns.root), Columns(columns.root)
    source, gone, rate = whole.source.codes.tolist(), whole.gone.tolist(), whole.numbers("chars_per_second")
    monkeypatch.setattr(module, "ROWS", 3)
    assert parted.source.codes.tolist() == source
    assert parted.gone.tolist() == gone
    assert np.array_equal(parted.numbers("chars_per_second"), rate, equal_nan=True)
    numbers = [name for name, kind in parted.types.items() if kind == "number"]
    for name in numbers:
        parted.numbers(name)
    assert len(numbers) > len(parted._recent) == module.LATELY
    assert parted.numbers(numbers[-1]) is parted.numbers(numbers[-1]), "not read again at once"


def test_texts_of_a_dictionary_are_a_sequence() -> None:
    import pyarrow

    parts = [pyarrow.array(["b", None, "a"]), pyarrow.array(["a", "c"]), pyarrow.array([], pyarrow.string())]
    found = coded(pyarrow.chunked_array(parts))
    assert (found.codes.tolist(), list(found.names), len(found.names)) == ([0, -1, 1, 1, 2], ["b", "a", "c"], 3)
    assert (found.code("c"), found.code("d"), found.names[1]) == (2, -2, "a")
    none = coded(pyarrow.chunked_array([], pyarrow.string()))
    assert (none.codes.tolist(), list(none.names)) == ([], [])
