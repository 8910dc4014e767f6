"""The page's script, in a browser without a window: it judges, saves and takes verdicts as the command does."""

from pathlib import Path

import pytest

from pipelines.acceptance import SAMPLE, judge, read_verdicts
from pipelines.audit import write_audit
from pipelines.packing.members import flac_of
from pipelines.shards import open_corpus
from tests.browser import CHROMIUM, came_to
from tests.pipelines.audit.corpora import build, fate, segment, tone

pytestmark = [pytest.mark.system, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

DRIVE = """{
const told = { errors: [], pictures: 0, saved: [], sentences: [] };
window.addEventListener("error", (event) => told.errors.push(event.message));
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
document.getElementById("review").scrollIntoView({ behavior: "instant" });
for (let number = 0; number < DATA.sample.length; number++) {
  press(number === 1 ? "b" : "g");
  told.sentences.push(document.querySelector(".verdict").textContent);
}
document.querySelector("a.act").click();
told.saved = document.querySelector("textarea").value;
document.querySelector("textarea").value = told.saved.replace(DATA.corpus, "another@0");
[...document.querySelectorAll("button.act")].find((one) => one.textContent.startsWith("Take")).click();
told.refused = document.querySelector(".note").textContent;
told.pictures = [...document.querySelectorAll("img")].filter((one) => one.src.startsWith("data:image")).length;
told.images = document.querySelectorAll("img").length;
const back = [...document.querySelectorAll("#review button")].find((one) => one.textContent.startsWith("Back"));
back.focus();
back.click();
told.focused = document.activeElement.textContent;
const space = new KeyboardEvent("keydown", { key: " ", bubbles: true, cancelable: true });
document.activeElement.dispatchEvent(space);
told.taken = space.defaultPrevented;
tell(told);
}"""


@pytest.mark.parametrize("clips", [6, SAMPLE + 40])
def test_the_page_judges_as_the_command_does(tmp_path: Path, clips: int) -> None:
    """A sample that is the whole corpus, and one that is drawn from it."""
    corpus = build(tmp_path, [fate(segment(number)) for number in range(clips)])
    page = write_audit(corpus, sound_of=lambda row: flac_of(tone(1), rate_hz=16000))
    told = came_to(page.read_text(encoding="utf-8"), DRIVE, folder=tmp_path)
    assert told["errors"] == []
    assert told["focused"].startswith("Back"), "who goes by Tab and Enter stays where they are"
    assert not told["taken"], "Space presses the button that has the focus"
    assert told["pictures"] == told["images"] > 0
    assert told["refused"].startswith("These verdicts are of another@0, but this page is of")
    saved = tmp_path / "verdicts.json"
    saved.write_text(told["saved"])
    opened = open_corpus(corpus)
    keys = [str(row["key"]) for row in opened.rows]
    verdicts = read_verdicts(saved)["verdicts"]
    assert sorted(verdicts.values()) == ["bad", *["good"] * (min(clips, SAMPLE) - 1)]
    found = judge(verdicts, keys=keys, digest=opened.digest)
    assert told["sentences"][-1].replace(" ", ": ", 1) == found.sentence
    assert len(set(told["sentences"])) == len(verdicts), "each clip changes what is said"
