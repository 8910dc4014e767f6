"""Activity on the grid: pauses, margins, parts of a long recording, turns; and the measure of errors itself."""

import numpy as np
import pytest

from pipelines.clip import Turn
from pipelines.hearing.voices import Activity, Spoken, bridged, held, hysteresis, runs, stitched, turns_of
from tests.pipelines.joined_voices import error


def active(*lines: str) -> Activity:
    """A line of `x` and `.` for each voice."""
    return np.array([[letter == "x" for letter in line] for line in lines]).T


def lines(active_FV: Activity) -> list[str]:
    return ["".join("x" if on else "." for on in column) for column in active_FV.T]


def test_runs_and_bridges() -> None:
    mask_F = active("..xx.xxx....x")[:, 0]
    assert runs(mask_F).tolist() == [[2, 4], [5, 8], [12, 13]]
    assert lines(bridged(mask_F, gap=1, shortest=2)[:, None]) == ["..xxxxxx....."]


def test_speech_goes_on_until_it_is_clearly_over() -> None:
    speech_F = np.array([0.4, 0.4, 0.6, 0.4, 0.3, 0.4, 0.4], dtype=np.float32)
    assert lines(hysteresis(speech_F, onset=0.5, offset=0.35)[:, None]) == ["..xx..."]


def test_a_pause_belongs_to_a_turn_unless_another_speaks_in_it() -> None:
    found = held(active("xx..xx....xx", ".......x...."), pause=3, pad=0)
    assert lines(found) == ["xxxxxx....xx", ".......x...."]
    found = held(active("xx.....xx", "...xx...."), pause=9, pad=0)
    assert lines(found) == ["xx.....xx", "...xx...."]


def test_margins_end_half_of_the_way_to_the_next_voice() -> None:
    found = held(active("..xx..........", "........xx...."), pause=0, pad=3)
    assert lines(found) == ["xxxxxx........", "......xxxxxxx."]


def unit_rows(*rows: list[float]) -> np.ndarray:
    made = np.array(rows, dtype=np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_voices_of_two_parts_are_one_where_their_embeddings_say_so() -> None:
    first = Spoken(active("xx......", "..xxxx.."), unit_rows([1, 0, 0], [0, 1, 0]))
    second = Spoken(active("xx......", "....xx..", "......xx"), unit_rows([0.1, 1, 0], [0, 0, 1], [1, 0.1, 0]))
    whole = stitched([first, second], starts=[0, 4], frames=12, same_cosine=0.5)
    assert lines(whole.active_FV) == ["xx........xx", "..xxxx......", "........xx.."]
    assert whole.centroids_VD.shape == (3, 3)


def test_in_what_two_parts_share_each_has_its_half() -> None:
    first = Spoken(active("xxxxxxxx"), unit_rows([1, 0]))
    second = Spoken(active("........"), unit_rows([1, 0]))
    whole = stitched([first, second], starts=[0, 4], frames=12, same_cosine=0.5)
    assert lines(whole.active_FV) == ["xxxxxx......"]


def test_turns_are_numbered_in_order_of_appearance_and_may_overlap() -> None:
    found = turns_of(active("....xxxx..", "xx....xx.."))
    assert found == (Turn(0.0, 0.02, "0"), Turn(0.04, 0.08, "1"), Turn(0.06, 0.08, "0"))


def test_error_is_that_of_the_definition() -> None:
    truth = [Turn(0, 10, "a"), Turn(10, 20, "b"), Turn(18, 20, "a")]
    assert error(truth, truth, seconds=20).rate == 0
    renamed = [Turn(turn.start_seconds, turn.end_seconds, turn.voice * 2) for turn in truth]
    assert error(truth, renamed, seconds=20).rate == 0
    one = error(truth, [Turn(0, 20, "x")], seconds=20, collar_seconds=0)
    assert (one.missed, one.false, one.total) == pytest.approx((2, 0, 22))
    assert one.confused == pytest.approx(8), "x is a, which speaks 12 of its 20 s"
    late = [Turn(0.2, 10.2, "a"), Turn(10.2, 20, "b"), Turn(18, 20, "a")]
    assert error(truth, late, seconds=20).rate == 0, "within the collar"
    assert error(truth, [], seconds=20).rate == 1
