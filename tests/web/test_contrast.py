"""Texts can be read in both themes (WCAG 2.2, 1.4.3: contrast of at least 4.5), as the browser shows the pages."""

import pytest
from playwright.sync_api import Page

from tests.unit.office_trial import STAFF
from tests.unit.web_trial import PASSWORDS
from tests.web.conftest import Room

LEAST = 4.5
PEOPLE = PASSWORDS | {code: password for code, (_, _, password) in STAFF.items()}
PAGES = {
    "": ["/login"],
    "R1": ["/", "case"],
    "S01-AB": ["/site", "/site/upload", "/site/queries"],
    "DM": [
        "/office", "/office/queries", "/office/quarantine", "/office/scanners", "/office/jobs", "/office/analysis",
        "/office/reads", "/office/people", "/office/audit",
    ],
}  # fmt: skip
TOO_FAINT = """least => {
  const rgba = text => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith('color(srgb') ? [...numbers.slice(0, 3).map(x => 255 * x), numbers[3] ?? 1]
      : [...numbers.slice(0, 3), numbers[3] ?? 1];
  };
  const over = (above, below) => [0, 1, 2].map(i => above[i] * above[3] + below[i] * (1 - above[3]));
  const linear = x => (x <= 0.04045 * 255 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement, text = texts.currentNode.textContent.trim();
    if (!text || !node.checkVisibility({ visibilityProperty: true })) continue;
    if (node.closest(":disabled, option, .pane")) continue;
    const styles = [];
    for (let one = node; one; one = one.parentElement) styles.unshift(getComputedStyle(one));
    const opacity = styles.reduce((product, style) => product * style.opacity, 1);
    const below = styles.reduce((colour, style) => over(rgba(style.backgroundColor), colour), [255, 255, 255]);
    const colour = rgba(styles.at(-1).color);
    const above = over([...colour.slice(0, 3), colour[3] * opacity], below);
    const [dark, light] = [luminance(above), luminance(below)].sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    seen += 1;
    if (contrast < least) found.push(`${contrast.toFixed(2)} ${text}`);
  }
  return { seen, found };
}"""


def check(page: Page, where: str) -> None:
    answer = page.evaluate(TOO_FAINT, LEAST)
    assert answer["seen"] >= 3, where
    assert answer["found"] == [], where


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1280, 3840])
def test_all_texts_have_contrast_and_no_page_scrolls_sideways(chrome, server: Room, theme, width):
    for person, paths in PAGES.items():
        context = chrome.new_context(viewport={"width": width, "height": 9 * width // 16})
        context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        page = context.new_page()
        if person:
            server.sign_in(page, person, PEOPLE[person])
        for path in paths:
            if path == "case":
                page.goto(f"{server.base}/")
                page.locator("table.worklist a").first.click()
                page.locator("body[data-ready=yes]").wait_for()
                page.keyboard.press(".")
                check(page, "case")
                for keys, dialog in (("?", "keys"), ("Control+Enter", "finish")):
                    page.keyboard.press(keys)
                    page.locator(f"dialog.{dialog}").wait_for()
                    check(page, dialog)
                    page.keyboard.press("Escape")
            else:
                assert page.goto(f"{server.base}{path}").status == 200
                check(page, path)
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), path
        context.close()
