"""The transform of UTMOS, and the filter over it; the network itself is tested beside it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.frozen import WeightsError
from pipelines.clip import Clip
from pipelines.filters import utmos as utmos_filter
from pipelines.hearing.opinion import Opinion
from pipelines.transforms import utmos
from tests.sounds import clip_of
from tests.utmos_checkpoint import speechmos

NOISE = np.random.default_rng(0).normal(0, 0.1, size=48000).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("utmos") / "utmos22_strong_step7459_v1.pt"
    torch.save(speechmos(), path)
    return path


def test_every_clip_gets_a_score_in_order_and_nothing_else_changes(checkpoint: Path) -> None:
    transform = utmos.Transform(utmos.Config(checkpoint=checkpoint))
    clips = [clip_of(NOISE, 48000), clip_of(NOISE[:20000], 48000), clip_of(NOISE[:300], 48000)]
    done = [item for item in transform(clips) if isinstance(item, Clip)]
    assert [clip.segment.key for clip in done] == [clip.segment.key for clip in clips]
    scores = [clip.segment.utmos for clip in done]
    assert scores[2] is None, "too short for a frame"
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[0] != scores[1]
    assert Opinion(utmos=checkpoint)(clips[0]) == pytest.approx(scores[0], abs=1e-4)


def test_fingerprint_follows_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(speechmos(seed=1), tmp_path / "other.pt")
    made = {utmos.Transform(utmos.Config(checkpoint=path)).fingerprint for path in (checkpoint, tmp_path / "other.pt")}
    assert len(made) == 2


def test_without_a_checkpoint_it_says_what_to_get_and_what_to_use_instead() -> None:
    with pytest.raises(WeightsError, match=r"utmos needs checkpoint.*utmos22_strong_step7459_v1\.pt.*use mos"):
        utmos.Transform(utmos.Config())


def test_threshold_is_a_number_or_one_a_language() -> None:
    clip = clip_of(NOISE, 48000).with_(utmos=3.0, language="zh")
    assert not utmos_filter.keep(clip.segment, utmos_filter.Config())
    assert utmos_filter.keep(clip.segment, utmos_filter.Config(min={"zh": 2.8, "other": 3.5}))
    assert not utmos_filter.keep(clip.with_(utmos=None).segment, utmos_filter.Config(min=1.0))
