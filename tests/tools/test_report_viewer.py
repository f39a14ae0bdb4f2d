"""The divider of a page in a real browser: by mouse and by keyboard, zoom and place linked over a case's images."""

import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest

from tools.report.page import Picture, Viewer, write_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

DRIVE = """
<script>
const [first, second] = document.querySelectorAll(".viewer");
const stage = first.querySelector(".stage");
const scaleOf = (image) => new DOMMatrix(getComputedStyle(image).transform).a;
const read = () => ({
  d: Number(first.style.getPropertyValue("--d")), z: Number(first.style.getPropertyValue("--z")),
  x: Number(first.style.getPropertyValue("--x")), y: Number(first.style.getPropertyValue("--y")),
  now: stage.getAttribute("aria-valuenow"), label: stage.getAttribute("aria-label"),
  moved: new Set([...first.querySelectorAll(".frame img")].map(scaleOf)).size,
  scale: scaleOf(first.querySelector(".strip .error img")),
});
const key = (key, shiftKey = false) =>
  stage.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }));
const point = (type, frame, u, v) => {
  const rect = frame.getBoundingClientRect();
  const place = { clientX: rect.left + u * rect.width, clientY: rect.top + v * rect.height };
  frame.dispatchEvent(new PointerEvent(type, { ...place, button: 0, pointerId: 1, bubbles: true }));
};
const drag = (frame, from, to) => {
  point("pointerdown", frame, ...from);
  point("pointermove", frame, ...to);
  point("pointerup", frame, ...to);
};
const seen = { start: read() };
drag(stage, [0.5, 0.5], [0.25, 0.5]); seen.dragged = read();
key("ArrowRight"); seen.key = read();
key("r"); seen.turned = read();
key("+"); seen.zoomed = read();
drag(first.querySelector(".strip .frame"), [0.5, 0.5], [0.6, 0.4]); seen.panned = read();
key("ArrowRight", true); seen.shifted = read();
stage.focus();
const clientX = stage.getBoundingClientRect().left;
stage.dispatchEvent(new WheelEvent("wheel", { deltaY: -1, clientX, bubbles: true, cancelable: true }));
seen.wheel = read();
for (let i = 0; i < 20; i++) key("+"); seen.most = read();
first.querySelector(".controls button:last-child").click(); seen.reset = read();
seen.other = Number(second.style.getPropertyValue("--z"));
const found = document.createElement("pre");
found.id = "seen";
found.textContent = JSON.stringify(seen);
document.body.append(found);
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed: apt-get install chromium")
def test_divider_and_zoom_follow_mouse_and_keyboard(tmp_path):
    images = {
        name: np.full((20, 30), value, np.uint8)
        for name, value in (("input", 60), ("reconstruction", 120), ("target", 200))
    }
    pictures = [
        *(Picture(name, [image]) for name, image in images.items()),
        Picture("error", [images["input"]], error=True),
    ]
    viewers = [Viewer(name, pictures, "input", "reconstruction") for name in ("one", "two")]
    path = write_page(tmp_path / "page.html", "Divider", [], [("Cases", viewers)])
    path.write_text(path.read_text().replace("</body>", f"{DRIVE}</body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=170, check=True
    )
    match = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr[-2000:]
    seen = json.loads(unescape(match[1]))
    assert (seen["start"]["d"], seen["start"]["z"], seen["start"]["now"]) == (0.5, 1, "50")
    assert seen["start"]["label"] == "divider between input and reconstruction"
    assert seen["dragged"]["d"] == pytest.approx(0.25, abs=0.01)
    assert seen["key"]["d"] - seen["dragged"]["d"] == pytest.approx(0.02)
    assert seen["turned"]["label"] == "divider between input and target"
    assert seen["zoomed"]["z"] == 1.5
    assert (seen["zoomed"]["x"], seen["zoomed"]["y"]) == (-0.25, -0.25)  # about the middle
    for state in seen.values():
        if isinstance(state, dict):
            assert state["moved"] == 1  # all images of the case have one zoom
            assert state["scale"] == pytest.approx(state["z"])
    assert seen["panned"]["x"] == pytest.approx(-0.15, abs=0.01)
    assert seen["panned"]["y"] == pytest.approx(-0.35, abs=0.01)
    assert seen["shifted"]["x"] == pytest.approx(seen["panned"]["x"] - 0.1, abs=0.01)
    assert seen["wheel"]["z"] == pytest.approx(1.8)
    assert seen["most"]["z"] == 16
    assert (seen["reset"]["d"], seen["reset"]["z"], seen["reset"]["x"]) == (0.5, 1, 0)
    assert seen["other"] == 1  # the other case stays as it was
