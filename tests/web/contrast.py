"""Contrast of the texts of a page, as the browser shows them (WCAG 2.2, 1.4.3)."""

from playwright.sync_api import Page

LEAST = 4.5
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


def check_contrast(page: Page, where: str) -> None:
    """Every visible text but those of disabled controls and on images has a contrast of at least 4.5."""
    answer = page.evaluate(TOO_FAINT, LEAST)
    assert answer["seen"] >= 3, where
    assert answer["found"] == [], where
