"""The reading page as a reader uses it: keys, mouse and what is on the screen."""

from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page, expect

from tests.unit.web_trial import drawn

SAVED_MS = 20_000


class ReadingPage:
    """One open case in one tab."""

    def __init__(self, page: Page, base: str, assignment: str):
        self.page, self.base, self.assignment = page, base, assignment

    def open(self) -> "ReadingPage":
        self.page.goto(f"{self.base}/reading/{self.assignment}")
        return self.ready()

    def reload(self) -> "ReadingPage":
        self.page.reload()
        return self.ready()

    def ready(self) -> "ReadingPage":
        self.page.locator("body[data-ready=yes]").wait_for()
        return self

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def connected(self) -> None:
        """What the browser says when the network is there again."""
        self.page.evaluate("() => dispatchEvent(new Event('online'))")

    # --- what the page shows

    def corner(self, state: str, waiting: int | None = None) -> None:
        corner = self.page.locator(
            f"#saving[data-state={state}]" + ("" if waiting is None else f"[data-waiting='{waiting}']")
        )
        corner.wait_for(timeout=SAVED_MS)

    def saved(self) -> None:
        self.corner("saved", 0)

    def selected(self) -> str | None:
        return self.page.evaluate("() => desk.viewer.view.selected")

    def row(self, key: str) -> Locator:
        return self.page.locator(f"[data-lesion='{key}']")

    def toast(self, text: str) -> None:
        expect(self.page.locator("#toast")).to_contain_text(text)

    def position(self) -> list[int]:
        return self.page.evaluate("() => desk.viewer.view.position")

    def labels(self, kind: str) -> np.ndarray:
        """Label map of the page, x fastest."""
        runs = self.page.evaluate(
            """kind => {
              const out = [];
              desk.reading.labels.get(kind).forEach((v, i) => { if (v) out.push(i, v); });
              return out;
            }""",
            kind,
        )
        labels = np.zeros(self.page.evaluate("() => desk.grid.size"), np.uint16)
        pairs = np.array(runs, int).reshape(-1, 2)
        labels[pairs[:, 0]] = pairs[:, 1]
        return labels

    # --- what the server has

    def get(self, path: str) -> Any:
        return self.page.request.get(f"{self.base}/api/reading/{self.assignment}/{path}")

    def case(self) -> dict[str, Any]:
        return self.get("case").json()

    def server_labels(self, kind: str) -> np.ndarray:
        return drawn(self.get(f"labels/{kind}").json(), self.case()["shape"]).ravel(order="F")

    def server_lesion(self, key: str) -> dict[str, Any]:
        kind, number = key.split(":")
        return next(x for x in self.case()["lesions"] if x["kind"] == kind and x["number"] == int(number))

    # --- the mouse

    def point(self, voxel: list[int], pane: str = "flair") -> tuple[float, float]:
        """Screen position of a voxel's centre, computed from the pane's box and the display rule alone.

        The patient's right is on the left of the screen, anterior at the top; the slice fills the pane as far as it
        can, at zoom 1 without pan.
        """
        box = self.page.locator(f"[data-pane={pane}]").bounding_box()
        assert box is not None
        case = self.page.evaluate("() => ({shape: desk.grid.shape, spacing: desk.grid.spacing})")
        (nx, ny, _), (dx, dy, _) = case["shape"], case["spacing"]
        scale = min(box["width"] / (nx * dx), box["height"] / (ny * dy))
        right, down = (nx - 0.5 - voxel[0]) * dx, (ny - 0.5 - voxel[1]) * dy
        return (
            box["x"] + box["width"] / 2 + scale * (right - nx * dx / 2),
            box["y"] + box["height"] / 2 + scale * (down - ny * dy / 2),
        )

    def stroke(self, *voxels: list[int], pane: str = "flair") -> None:
        """Press at the first voxel, move over the others, release."""
        points = [self.point(voxel, pane) for voxel in voxels]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points:
            self.page.mouse.move(*point, steps=4)
        self.page.mouse.up()

    def pixel(self, voxel: list[int], layer: str, pane: str = "flair") -> list[int]:
        """RGBA of a canvas (image or marks) at the centre of a voxel."""
        x, y = self.point(voxel, pane)
        return self.page.evaluate(
            """([pane, layer, x, y]) => {
              const canvas = document.querySelector(`[data-pane=${pane}] canvas.${layer}`);
              const box = canvas.getBoundingClientRect();
              const ratio = canvas.width / box.width;
              const at = [(x - box.left) * ratio, (y - box.top) * ratio].map(Math.floor);
              return [...canvas.getContext('2d').getImageData(...at, 1, 1).data];
            }""",
            [pane, layer, x, y],
        )
