"""Conditions on scores: read strictly, never run, with missing scores neither true nor false."""

from typing import Any

import pyarrow
import pytest

from infra.manifest import ManifestError
from pipelines.policy.conditions import holds, read_condition

TABLE = pyarrow.table(
    {
        "utmos": [3.0, 4.0, None, 2.0],
        "snr_db": [25.0, 10.0, 30.0, 40.0],
        "language": ["en", "zh", None, "en"],
        "edge_active": [True, False, None, False],
        "rate_hz": [16000, 48000, 16000, 44100],
    }
)


def found(text: str, *, unknown: bool | None = False) -> list[Any]:
    condition = read_condition(text, known=TABLE.column_names, where="--what-if")
    values: list[Any] = holds(condition, TABLE, unknown=unknown).to_pylist()
    return values


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("utmos >= 3", "yyn."), ("utmos>=3 and snr_db>=20", "y.n."), ("utmos >= 3 or snr_db >= 35", "yyny"),
        ("not utmos >= 3", "..ny"), ("utmos < 3 or snr_db > 20", "y.yy"), ("2 < utmos <= 3", "y.n."),
        ("language == 'en'", "y.ny"), ("language in ['en', 'zh']", "yyny"), ("language not in ('zh',)", "y.ny"),
        ("utmos is None", "..y."), ("utmos is not None", "yy.y"), ("not edge_active", ".yny"),
        ("utmos * 10 - snr_db > 0", "yyn."), ("snr_db / 10 > 2.5 + 0", "..yy"), ("rate_hz in [16000, 44100]", "y.yy"),
        ("utmos > -1", "yyny"), ("rate_hz / 32000 >= 0.5", "yyyy"), ("utmos != 3", ".yny"),
    ],
)  # fmt: skip
def test_condition_keeps_what_is_true_and_knows_what_is_not_known(text: str, kept: str) -> None:
    marks = {True: "y", False: ".", None: "n"}
    assert "".join(marks[value] for value in found(text, unknown=None)) == kept
    assert found(text) == [mark == "y" for mark in kept]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("utmoss >= 3", "no score 'utmoss'; did you mean 'utmos'?"),
        ("utmos >=", "cannot be read"),
        ("", "cannot be read"),
        ("utmos", "double, not true or false"),
        ("3", "is a value, not a condition"),
        ("__import__('os').system('x') == 0", "only scores, numbers"),
        ("utmos.__class__ == 1", "only scores, numbers"),
        ("[x for x in (1,)] == 1", "only scores, numbers"),
        ("utmos ** 99999 > 1", "only scores, numbers"),
        ("(lambda: 1)() > 0", "only scores, numbers"),
        ("utmos[0] > 1", "only scores, numbers"),
        ("f'{utmos}' == 'x'", "only scores, numbers"),
        ("(utmos := 3) > 1", "only scores, numbers"),
        ("utmos > 3 if snr_db else 1", "only scores, numbers"),
        ("utmos == None", "write `is None`"),
        ("utmos is 3", "asks for None only"),
        ("language in 'en'", "wants a list"),
        ("language in [utmos]", "a list holds numbers or quoted words"),
        ("language > 3", "cannot be compared (language is words"),
        ("language in [1, 2]", "cannot be compared"),
        ("3 < 'a'", "cannot be compared (Function"),
        ("[1] == rate_hz", "can only stand behind `in`"),
        ("utmos > [1]", "can only stand behind `in`"),
        ("rate_hz * 99999999999999999999 > 1", "cannot be compared"),
        ("rate_hz * 9000000000000000000 > 1", "overflow"),
        ("-rate_hz - 9223372036854775807 < 0", "overflow"),
        ("rate_hz in [99999999999999999999999]", "cannot be compared"),
        ("language == '\\ud800'", "cannot be compared"),
        ("utmos > b'x'", "is no number and no word"),
        ("-" * 500 + "utmos > 1", "cannot be read|more than 60 brackets"),
        ("(" * 300 + "utmos > 1" + ")" * 300, "cannot be read"),
    ],
)
def test_what_is_no_condition_is_a_sentence_and_nothing_runs(text: str, told: str) -> None:
    with pytest.raises(ManifestError, match=told.replace("(", r"\(")):
        found(text)


def test_parts_are_what_and_joins_at_the_top() -> None:
    condition = read_condition(
        "utmos > 1 and (snr_db > 2 and (edge_active or utmos < 3))", known=TABLE.column_names, where="--what-if"
    )
    assert [part.text for part in condition.parts] == ["utmos > 1", "snr_db > 2", "edge_active or utmos < 3"]
    assert condition.names == {"utmos", "snr_db", "edge_active"}
