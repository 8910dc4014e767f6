"""The pages that people are shown, in a browser: none is wider than a phone, and all that can be used has a name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.lineage_view import Box, write_view
from infra.workflow.store import Store
from pipelines.audit import write_audit
from pipelines.evaluation.metrics import Utterance
from pipelines.evaluation.report import page
from pipelines.packing.members import flac_of
from tests.browser import CHROMIUM, came_to
from tests.pipelines.audit.corpora import build, fate, segment, tone

pytestmark = [pytest.mark.system, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

LONG = "<b>" + "long" * 30
MEASURE = """
const frame = document.createElement("iframe");
frame.style = "width: 400px; height: 900px; border: 0";
frame.srcdoc = PAGE;
frame.onload = () => {
  const inside = frame.contentDocument;
  const named = (one) => one.labels?.length || one.ariaLabel || one.title || one.textContent.trim();
  const used = [...inside.querySelectorAll("input, select, textarea, button, audio")];
  tell({
    over: inside.documentElement.scrollWidth - inside.documentElement.clientWidth,
    unnamed: used.filter((one) => !named(one)).map((one) => one.outerHTML.slice(0, 90)),
    pictures: [...inside.querySelectorAll("img, body > * > svg")].filter((one) => !one.alt && !one.ariaLabel).length,
    schemes: inside.defaultView.getComputedStyle(inside.documentElement).colorScheme,
  });
};
document.body.append(frame);
"""


def audit(folder: Path) -> str:
    corpus = build(folder, [fate(segment(number, source=f"{LONG} {number}")) for number in range(8)])
    return write_audit(corpus, sound_of=lambda row: flac_of(tone(1), rate_hz=16000)).read_text()


def report(folder: Path) -> str:
    wave_S = np.zeros(1600, np.float32)
    summary = {
        "mean": 1.5,
        "low": 1.25,
        "high": 1.75,
        "unit": "s",
        "better": "lower",
        "scored": 1,
        "total": 1,
        "voices": 1,
    }
    metrics = {name: summary | {"unscored": {}, "how": f"by {LONG}={name}"} for name in ("word_error_rate", "seconds")}
    row = {"key": LONG, "text": LONG, "language": "en", "problem": "", "finish": "stop"}
    row |= {"scores": dict.fromkeys(metrics, 1.5), "notes": {"word_error_rate": LONG}}
    facts: dict[str, Any] = {"name": "speech", "purpose": LONG, "kind": "speech", "trained_on": [LONG], "data": None}
    facts |= {"trained_on_unknown": [LONG], "run": "e" * 32, "list": {"file": LONG, "digest": "d" * 64, "lines": 1}}
    facts |= {"settings": {"resamples": 100, "seed": 0, "list_file": LONG}, "metrics": [{"name": LONG}]}
    facts["bundle"] = {"name": LONG, "run": "r" * 32, "digest": "d" * 64}
    facts["systems"] = {"bundle": {"metrics": metrics, "utterances": [row], "finish": {"stop": 1}}}
    facts["timing"] = {"bundle": {"real_time_factor": 0.5, "audio_seconds": 1.0, "making_seconds": 0.5}}
    heard = Utterance(key=LONG, wave_S=wave_S, rate_hz=16000, against_S=wave_S, against_rate_hz=16000)
    return page(facts, {"bundle": [heard]}, players=1)


def lineage(folder: Path) -> str:
    boxes = [Box("corpus", "corpus", (LONG, "corpus")), Box("soar", "train", ("x",), {"data": "corpus"}, LONG)]
    return write_view(folder / "lineage.html", "tiny", boxes, [], Store(folder / "store")).read_text()


@pytest.mark.parametrize("made", [audit, report, lineage])
def test_a_page_fits_a_phone_and_names_what_can_be_used(tmp_path: Path, made: Any) -> None:
    held = json.dumps(made(tmp_path)).replace("</", "<\\/")
    told = came_to("<!doctype html><body></body>", f"const PAGE = {held};{MEASURE}", folder=tmp_path)
    assert told == {"over": 0, "unnamed": [], "pictures": 0, "schemes": "light dark"}
