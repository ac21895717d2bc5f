/** The keyboard: what every key does, and the table of keys. */

import { element } from "./dom.js";
import { OVERLAYS } from "./viewer.js";
import { TEXTS } from "./texts.js";

const PAGE_SLICES = 5;
const PAN_MM = 10;

/** Table of all keys. */
export function showKeys() {
  const dialog = element("dialog", { class: "keys", "aria-label": TEXTS.help.title }, element("h2", { text: TEXTS.help.title }));
  const columns = element("div", { class: "columns" });
  for (const [title, rows] of TEXTS.keys) {
    const table = element("table", {}, element("caption", { text: title }));
    for (const [keys, does] of rows) table.append(element("tr", {}, element("th", { scope: "row", text: keys }), element("td", { text: does })));
    columns.append(table);
  }
  dialog.append(columns, element("button", { type: "button", text: TEXTS.help.close, click: () => dialog.close() }));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("keydown", (event) => { if (event.key === "?") { event.preventDefault(); dialog.close(); } });
  document.body.append(dialog);
  dialog.showModal();
}

/**
 * Actions by key. A name is the key with "Ctrl+" and "Shift+" (Shift for named keys and letters alone).
 * @param {import("./desk.js").Desk} desk @param {{finish: () => void, next: () => void}} page
 * @returns {Record<string, () => void>}
 */
function actions(desk, page) {
  const { viewer } = desk;
  const slice = (step) => () => viewer.toSlice(viewer.slice + step);
  const pan = (right, down) => () => viewer.set({ pan: [viewer.view.pan[0] + right * PAN_MM, viewer.view.pan[1] + down * PAN_MM] });
  const tool = (name) => () => desk.useTool(name);
  const table = {
    n: () => desk.nextUndecided(1), "Shift+n": () => desk.nextUndecided(-1), ".": () => desk.nextLesion(1), ",": () => desk.nextLesion(-1),
    a: () => desk.decide("accept"), r: () => desk.decide("reject"), u: () => desk.decide(null), t: () => desk.retype(),
    w: () => desk.decideChange("new"), e: () => desk.decideChange("enlarging"), q: () => desk.decideChange("none"),
    "Ctrl+Enter": page.finish, c: page.next,
    ArrowUp: slice(1), ArrowDown: slice(-1), PageUp: slice(PAGE_SLICES), PageDown: slice(-PAGE_SLICES),
    Home: () => viewer.toSlice(desk.grid.shape[viewer.view.axis] - 1), End: () => viewer.toSlice(0),
    "+": () => viewer.zoomBy(1.25), "=": () => viewer.zoomBy(1.25), "-": () => viewer.zoomBy(0.8), 0: () => viewer.set({ zoom: 1, pan: [0, 0] }),
    "Ctrl+ArrowLeft": pan(-1, 0), "Ctrl+ArrowRight": pan(1, 0), "Ctrl+ArrowUp": pan(0, -1), "Ctrl+ArrowDown": pan(0, 1),
    i: () => desk.nextPreset(), " ": () => desk.flicker(), k: () => viewer.set({ crosshair: !viewer.view.crosshair }),
    o: () => viewer.set({ overlay: OVERLAYS[(OVERLAYS.indexOf(viewer.view.overlay) + 1) % OVERLAYS.length] }),
    h: () => viewer.set({ hold: true }), z: () => desk.nextLayout(), p: () => desk.nextPlane(), y: () => viewer.set({ smooth: !viewer.view.smooth }),
    v: tool("navigate"), b: tool("brush"), x: tool("eraser"), f: tool("fill"), l: tool("lasso"), j: tool("join"), m: tool("measure"),
    Escape: () => { desk.tool.cancel(); desk.useTool("navigate"); },
    "[": () => desk.resizeBrush(-1), "]": () => desk.resizeBrush(1), d: () => { desk.settings.threeD = !desk.settings.threeD; desk.changedSettings(); },
    g: () => desk.nextKind(), s: () => desk.split(), Delete: () => desk.delete(),
    "Ctrl+z": () => desk.undo(), "Ctrl+y": () => desk.redo(), "Ctrl+Shift+z": () => desk.redo(),
    "Shift+ArrowLeft": () => desk.moveCrosshair(-1, 0), "Shift+ArrowRight": () => desk.moveCrosshair(1, 0),
    "Shift+ArrowUp": () => desk.moveCrosshair(0, -1), "Shift+ArrowDown": () => desk.moveCrosshair(0, 1),
    Enter: () => desk.enter(false), "Shift+Enter": () => desk.enter(true), "?": showKeys,
  };
  if (desk.reading.info.adjudication) {
    Object.assign(table, { a: () => desk.take(["A"]), b: () => desk.take(["B"]), "Shift+a": () => desk.take(["A", "B"]), "Shift+e": () => desk.decide("accept"), "Shift+b": tool("brush") });
  }
  viewer.panes.slice(0, 9).forEach((pane, at) => { table[at + 1] = () => viewer.set({ active: pane.info.id }); });
  return table;
}

/** @param {KeyboardEvent} event */
function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && (event.key.length > 1 || /\p{L}/u.test(event.key));
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${key}`;
}

/** Keys that belong to the control which has the focus. @param {KeyboardEvent} event */
function belongsToControl(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.closest("dialog, form")) return true;
  if (target.matches("select, input[type=range]")) return /^(Arrow|Home|End|Page| |Enter)/.test(event.key);
  return target.matches("button, a, input") && [" ", "Enter"].includes(event.key) && !event.ctrlKey;
}

/** @param {import("./desk.js").Desk} desk @param {{finish: () => void, next: () => void}} page */
export function listenToKeys(desk, page) {
  const table = actions(desk, page);
  document.addEventListener("keydown", (event) => {
    if (belongsToControl(event) || event.altKey || document.querySelector("dialog[open]")) return;
    const action = table[nameOf(event)];
    if (!action) return;
    event.preventDefault();
    action();
  });
  const release = () => { if (desk.viewer.view.hold) desk.viewer.set({ hold: false }); };
  document.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "h") release(); });
  addEventListener("blur", release);
}
