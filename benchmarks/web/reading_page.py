"""Time of the reading page in Chromium: first picture, all panes, next lesion, next case.

    PYTHONPATH=. python benchmarks/web/reading_page.py

A simulated trial with scans of 2D size (by default 192 x 224 x 54), five panes at the first visit and nine at the
second, served by `mri-pipeline serve` in its own process. Times are those of the browser: from the navigation to the
frame in which the panes are drawn. A case is opened from the worklist, whose page loads the scripts of the reading
page, and without it, by a browser that has nothing in its cache.
"""

import argparse
import os
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from reading_centre.use_cases.reading.images import CACHE
from reading_centre.use_cases.reading.prepare import prepare_images
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


def opened(browser: Browser, room: Room, case: str, *, worklist: bool = True) -> Page:
    """The case in a fresh browser context, opened from the worklist or by its address."""
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, storage_state=room.states["R1"])
    page = context.new_page()
    if worklist:
        page.goto(room.base, wait_until="networkidle")
    page.goto(f"{room.base}/reading/{case}")
    page.locator("body[data-ready=yes]").wait_for(timeout=120_000)
    return page


def marks_of(page: Page) -> dict[str, float]:
    """Times since the navigation in milliseconds."""
    return dict(page.evaluate("() => performance.getEntriesByType('mark').map(m => [m.name, m.startTime])"))


def measure(browser: Browser, room: Room, case: str, repeats: int) -> None:
    """Print medians, and the largest value in brackets."""
    page = opened(browser, room, case)
    panes, marks = page.locator(".pane").count(), marks_of(page)
    page.context.close()
    print(f"{panes} panes, first opening: " + ", ".join(f"{name} {value:.0f} ms" for name, value in marks.items()))
    for worklist in (True, False):
        figures: dict[str, list[float]] = defaultdict(list)
        for _ in range(repeats):
            page = opened(browser, room, case, worklist=worklist)
            for name, value in marks_of(page).items():
                figures[name].append(value)
            figures["next lesion"] += page.evaluate(NEXT_LESION)
            page.context.close()
        how = "from the worklist" if worklist else "nothing in the cache of the browser"
        for name, values in figures.items():
            print(f"{panes} panes, {how}, {name}: {statistics.median(values):.0f} ms (largest {max(values):.0f})")


def sign_first(browser: Browser, room: Room, case: str) -> None:
    """Read and sign a case, so that the next visit has its previous one."""
    page = opened(browser, room, case)
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
        (trial.work / CACHE).mkdir(parents=True, exist_ok=True)
        prepare_images(trial.root)  # as at the end of a run
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
