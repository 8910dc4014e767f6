"""What a stage keeps of its samples gives the plan that it trained by."""

from typing import Any

import numpy as np
import pytest

from training.data.stream import Source
from training.heard import Part


@pytest.mark.parametrize("patches", [1, 35, 57, 1999])
def test_what_was_kept_of_a_source_is_as_long_as_the_source_to_the_last_digit(patches: int) -> None:
    kept: dict[str, Any] = {
        "weight": 1.0,
        "numbers": np.array([0]),
        "held_out": np.array([], dtype=np.int64),
        "patches": np.array([patches], dtype=np.int32),
        "hashes": np.array([1], dtype=np.uint64),
        "held_hashes": np.array([], dtype=np.uint64),
    }
    others: dict[str, Any] = dict.fromkeys(set(Source.__dataclass_fields__) - set(kept))
    assert Part(**kept, seen=None, corpus="c", at="").seconds == Source(**kept, **others).seconds
