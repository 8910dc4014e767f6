"""A page in Chromium without a window, with a script of the test at its end."""

import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ATTEMPTS, PATIENCE_SECONDS = 3, 80
"""On a loaded machine, Chromium now and then hangs before it shows anything."""

TELL = """function tell(found) {
  const out = document.createElement("pre");
  out.id = "told";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
}"""


def came_to(page: str, script: str, *, folder: Path) -> dict[str, Any]:
    """What the script handed to `tell(...)`, in the page."""
    assert CHROMIUM is not None
    before, end, after = page.rpartition("</body>")
    copy = folder / "driven.html"
    copy.write_text(f"{before}<script>{TELL}{script}</script>{end}{after}")
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
