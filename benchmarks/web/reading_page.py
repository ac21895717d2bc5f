"""Time of the reading page in Chromium: first picture, all panes, next lesion, next case.

    PYTHONPATH=. python benchmarks/web/reading_page.py

A simulated trial with scans of 2D size (by default 192 x 224 x 54), five panes at the first visit and nine at the
second, served by `mri-pipeline serve` in its own process. Times are those of the browser: from the navigation to the
frame in which the panes are drawn.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.unit.reading_trial import edit_protocol
from tests.web.conftest import CHROMIUM, Room
from tests.web.trial import write_browser_trial

NEXT_LESION = """async () => {
  const times = [];
  for (let at = 0; at < 20; at += 1) {
    if (!desk.ordered().length) throw new Error('a case with lesions expected');
    const start = performance.now();
    document.body.dispatchEvent(new KeyboardEvent('keydown', { key: '.', bubbles: true }));
    await new Promise(done => desk.viewer.addEventListener('drawn', done, { once: true }));
    times.push(performance.now() - start);
  }
  return times;
}"""
SIGN_ALL = """async () => {
  for (const lesion of desk.reading.listed().filter(x => desk.reading.isUndecided(x))) {
    const decision = lesion.kind === 'BH' ? 'reject' : 'accept';
    const old = { decision: lesion.decision, reason: lesion.reason };
    const reason = decision === 'reject' ? desk.reading.info.reasons[0].code : '';
    desk.edits.do([{ op: 'decide', kind: lesion.kind, lesion: lesion.number, decision, reason, old }]);
  }
  await desk.sync.drained();
}"""


def opened(browser: Browser, room: Room, case: str) -> tuple[Page, float]:
    """The case in a fresh browser context, and the seconds of the whole opening."""
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, storage_state=room.states["R1"])
    page = context.new_page()
    start = time.monotonic()
    page.goto(f"{room.base}/reading/{case}")
    page.locator("body[data-ready=yes]").wait_for(timeout=120_000)
    return page, time.monotonic() - start


def measure(browser: Browser, room: Room, case: str, repeats: int) -> None:
    """Print medians, and the largest value in brackets."""
    figures: dict[str, list[float]] = {"first picture": [], "all panes": [], "next lesion": []}
    panes = 0
    for number in range(repeats + 1):
        page, _ = opened(browser, room, case)
        marks = dict(page.evaluate("() => performance.getEntriesByType('mark').map(m => [m.name, m.startTime])"))
        panes = page.locator(".pane").count()
        steps = page.evaluate(NEXT_LESION)
        page.context.close()
        if number == 0:
            first, last = marks["first-picture"], marks["all-panes"]
            print(f"{panes} panes, first opening: first picture {first:.0f} ms, all panes {last:.0f} ms")
            continue
        figures["first picture"].append(marks["first-picture"])
        figures["all panes"].append(marks["all-panes"])
        figures["next lesion"] += steps
    for name, values in figures.items():
        print(f"{panes} panes, {name}: {statistics.median(values):.0f} ms (largest {max(values):.0f})")


def sign_first(browser: Browser, room: Room, case: str) -> None:
    """Read and sign a case, so that the next visit has its previous one."""
    page, _ = opened(browser, room, case)
    page.evaluate(SIGN_ALL)
    page.keyboard.press("Control+Enter")
    page.get_by_label("Login").fill("R1")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign", exact=True).click()
    page.locator("#signature:not([hidden])").wait_for(timeout=120_000)
    page.context.close()


def cases_of(browser: Browser, room: Room) -> list[str]:
    context = browser.new_context()
    page = context.new_page()
    room.sign_in(page, "R1")
    room.states["R1"] = context.storage_state()
    links = page.locator("tr[data-state=open] a").evaluate_all(
        "links => links.map(link => link.href.split('/').pop())"
    )
    context.close()
    return links


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(192, 224, 54))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        trial = write_browser_trial(Path(folder) / "trial", subjects=1, shape=tuple(options.shape))
        edit_protocol(trial, "order_of_visits_known = false", "order_of_visits_known = true")
        room = Room(trial.root, Path(folder) / "serve.log")
        room.start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            first = cases_of(browser, room)[0]
            measure(browser, room, first, options.repeats)
            sign_first(browser, room, first)
            measure(browser, room, cases_of(browser, room)[0], options.repeats)
        finally:
            browser.close()
            room.kill()
            print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
