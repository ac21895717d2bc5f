/** The bar above the images: tools and settings, with their keys. */

import { byId, element } from "./dom.js";
import { BRUSH_MM } from "./desk.js";
import { LAYOUTS, OVERLAYS } from "./viewer.js";
import { PRESETS } from "./grayscale.js";
import { TEXTS } from "./texts.js";

const T = TEXTS.toolbar;
const TOOL_KEYS = { navigate: "V", brush: "B", eraser: "X", fill: "F", lasso: "L", join: "J", measure: "M" };

export class Toolbar {
  /** @param {import("./desk.js").Desk} desk @param {{help: () => void}} actions */
  constructor(desk, actions) {
    this.desk = desk;
    this.node = byId("toolbar");
    this.tools = Object.entries(TOOL_KEYS).map(([name, key]) =>
      this.button(TEXTS.tools[name], key, () => desk.useTool(name), { "data-tool": name, title: TEXTS.toolHints[name] }));
    const { kinds } = desk.reading.info;
    this.kind = this.select(T.drawing, kinds.map(({ id }) => [id, TEXTS.kinds[id]]), (value) => desk.useKind(value), "G");
    this.size = this.select(T.size, BRUSH_MM.map((mm) => [String(mm), `${mm} mm`]), (value) => { desk.settings.brushMm = Number(value); desk.changedSettings(); }, "[ ]");
    this.threeD = this.button(T.threeD, "D", () => { desk.settings.threeD = !desk.settings.threeD; desk.changedSettings(); });
    this.undo = this.button(T.undo, "Ctrl Z", () => desk.undo());
    this.redo = this.button(T.redo, "Ctrl Y", () => desk.redo());
    this.overlay = this.select(T.overlay, OVERLAYS.map((name) => [name, TEXTS.overlay[name]]), (value) => desk.viewer.set({ overlay: value }), "O");
    this.preset = this.select(T.window, [...Object.keys(PRESETS), "own"].map((name) => [name, TEXTS.presets[name]]), (value) => { if (value !== "own") desk.usePreset(value); }, "I");
    this.layout = this.select(T.layout, LAYOUTS.map((name) => [name, TEXTS.layouts[name]]), (value) => desk.viewer.set({ layout: value }), "Z");
    this.plane = this.select(T.plane, TEXTS.planes.map((name, axis) => [String(axis), name]), (value) => desk.viewer.set({ axis: Number(value), pan: [0, 0] }), "P");
    this.flicker = this.button(T.flicker, "Space", () => desk.flicker());
    this.flicker.hidden = !desk.viewer.panes.some((pane) => pane.previous);
    const help = this.button(T.help, "?", actions.help);
    const theme = this.button("◐", "", () => { window.dispatchEvent(new Event("toggletheme")); }, { "aria-label": T.theme, title: T.theme });
    this.node.append(
      group(T.tools, ...this.tools), group(T.drawing, this.kind.label, this.size.label, this.threeD), group(T.undo, this.undo, this.redo),
      group(T.overlay, this.overlay.label, this.preset.label, this.layout.label, this.plane.label, this.flicker), group(T.help, theme, help));
    desk.addEventListener("settings", () => this.follow());
    desk.viewer.addEventListener("view", () => this.follow());
    this.follow();
  }

  button(text, key, action, attributes = {}) {
    return element("button", { type: "button", click: () => { action(); this.desk.viewer.node.focus(); }, ...attributes }, text, ...(key ? [element("kbd", { text: key })] : []));
  }

  select(text, options, action, key) {
    const node = element("select", { "aria-label": text, change: () => { action(node.value); this.desk.viewer.node.focus(); } },
      ...options.map(([value, name]) => element("option", { value, text: name })));
    return { node, label: element("label", { title: `${text} (${key})` }, element("span", { text }), node) };
  }

  follow() {
    const { desk } = this;
    const { view } = desk.viewer;
    for (const node of this.tools) {
      node.setAttribute("aria-pressed", String(node.dataset.tool === desk.tool.name));
      node.disabled = desk.tools[node.dataset.tool].edits && !desk.writable;
    }
    this.kind.node.value = desk.settings.kind;
    this.kind.label.dataset.kind = desk.settings.kind;
    this.size.node.value = String(desk.settings.brushMm);
    this.threeD.setAttribute("aria-pressed", String(desk.settings.threeD));
    this.flicker.setAttribute("aria-pressed", String(view.flicker));
    this.undo.disabled = !desk.writable || desk.edits.at === 0;
    this.redo.disabled = !desk.writable || desk.edits.at === desk.edits.entries.length;
    this.overlay.node.value = view.overlay;
    this.preset.node.value = desk.viewer.active.scale.preset;
    this.layout.node.value = view.layout;
    this.plane.node.value = String(view.axis);
  }
}

function group(name, ...children) {
  return element("div", { class: "group", role: "group", "aria-label": name }, ...children);
}
