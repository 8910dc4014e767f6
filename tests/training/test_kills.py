"""SIGKILL at 32 seeded schedules, of one worker or of one among two, inside checkpoint writes too: nothing changes."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.system
@pytest.mark.parametrize(("world", "seeds"), [(1, (0, 24)), (2, (24, 32))])
def test_a_stage_killed_twice_ends_as_if_it_was_not(
    corpus: Path, tmp_path: Path, world: int, seeds: tuple[int, int]
) -> None:
    words = [str(corpus), str(tmp_path), *map(str, seeds), str(world)]
    done = subprocess.run(
        [sys.executable, str(HERE / "kills.py"), *words],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    whole, *others = map(json.loads, done.stdout.splitlines())
    assert whole["killed"] == 0
    assert [line["step"] for line in whole["lines"]] == list(range(1, 13))
    assert len(others) == seeds[1] - seeds[0]
    for one in others:
        assert one["end"] == whole["end"], (one["seed"], one["notes"])
        assert one["lines"] == whole["lines"], (one["seed"], one["notes"])
        assert one["lost"] <= 4, one["notes"]  # save_every
    assert sum(one["killed"] for one in others) >= len(others)
    points = Counter(note.split()[0] for one in others for note in one["notes"])
    assert len(set(points) - {"from"}) >= (5 if world == 1 else 3)
