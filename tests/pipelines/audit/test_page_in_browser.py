"""The page's script, in a browser without a window: it judges, saves and takes verdicts as the command does."""

import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines.acceptance import SAMPLE, judge, read_verdicts
from pipelines.audit import write_audit
from pipelines.packing.members import flac_of
from pipelines.shards import open_corpus
from tests.pipelines.audit.corpora import build, fate, segment, tone

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.system, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
ATTEMPTS, PATIENCE_SECONDS = 3, 80
"""On a loaded machine, Chromium now and then hangs before it shows anything."""

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
const out = document.createElement("pre");
out.id = "told";
out.textContent = JSON.stringify(told);
document.body.append(out);
}"""


def driven(page: Path, folder: Path) -> dict[str, Any]:
    """What the page came to, with a script of ours at its end."""
    assert CHROMIUM is not None
    text = page.read_text(encoding="utf-8")
    before, end, after = text.rpartition("</body>")
    copy = folder / "driven.html"
    copy.write_text(f"{before}<script>{DRIVE}</script>{end}{after}")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--dump-dom"]
    for attempt in range(ATTEMPTS):
        command = [CHROMIUM, *words, f"--user-data-dir={folder / str(attempt)}", "--virtual-time-budget=5000"]
        try:
            done = subprocess.run(
                [*command, copy.as_uri()], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
            )
        except subprocess.TimeoutExpired:
            continue
        told = done.stdout.split('<pre id="told">', 1)[1].split("</pre>", 1)[0]
        found: dict[str, Any] = json.loads(html.unescape(told))
        return found
    pytest.skip(f"Chromium did not end within {PATIENCE_SECONDS} s, {ATTEMPTS} times")


@pytest.mark.parametrize("clips", [6, SAMPLE + 40])
def test_the_page_judges_as_the_command_does(tmp_path: Path, clips: int) -> None:
    """A sample that is the whole corpus, and one that is drawn from it."""
    corpus = build(tmp_path, [fate(segment(number)) for number in range(clips)])
    page = write_audit(corpus, sound_of=lambda row: flac_of(tone(1), rate_hz=16000))
    told = driven(page, tmp_path)
    assert told["errors"] == []
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
