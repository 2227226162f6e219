"""The board of 1,000 runs of 10,000 points: how soon, how smooth, and how much memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import board_runs
import pytest

pytest.importorskip("selenium")

FRAMES = """
const done = arguments[0], canvas = document.querySelector(".card canvas");
const box = canvas.getBoundingClientRect(), times = [];
canvas.setPointerCapture = () => {};
const fire = (type, x) => canvas.dispatchEvent(new PointerEvent(type, {
  clientX: box.x + x, clientY: box.y + 90, pointerId: 1, button: 0, bubbles: true }));
fire("pointerdown", 300);
let before = null, left = 60;
const step = (now) => {
  if (before !== null) times.push(now - before);
  before = now;
  left -= 1;
  fire("pointermove", 300 - 2 * (60 - left));
  if (left) return requestAnimationFrame(step);
  fire("pointerup", 180);
  done(times.sort((a, b) => a - b)[times.length >> 1]);
};
requestAnimationFrame(step);
"""
DRAWN = """
const [wanted, done] = arguments;
const ask = () => Number(document.querySelector(".card canvas")?.dataset.drawn ?? 0) >= wanted
  ? done(performance.now() / 1000) : setTimeout(ask, 5);
ask();
"""


@pytest.mark.slow
def test_first_curves_panning_and_memory(browser, tmp_path):
    board_runs.many(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "trace_net", "board", str(tmp_path), "--no-open"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().strip()
        browser.set_script_timeout(60)
        first, every = [], []
        for _ in range(3):
            browser.get("about:blank")
            begin = time.perf_counter()
            browser.get(address)
            browser.execute_async_script(DRAWN, 1)
            first.append(time.perf_counter() - begin)
            every.append(browser.execute_async_script(DRAWN, 1000))
        browser.execute_script("page.changed({ span: [2000, 6000], drag: 'pan' })")
        time.sleep(3)
        frame = min(browser.execute_async_script(FRAMES) for _ in range(3))
        status = Path(f"/proc/{process.pid}/status").read_text()
        megabytes = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
    print(
        f"first curves in {min(first):.2f} s, all in {min(every):.2f} s, {frame:.0f} ms a frame, "
        f"{megabytes:.0f} MB at most"
    )
    assert min(first) < 1
    assert frame < 1000 / 30
    assert megabytes < 200
