/** All panes with one view: position, zoom, pan, plane, grey scales. Draws only what changed, once per frame. */

import { PLANES } from "./geometry.js";
import { GreyScale, contrastOf } from "./grayscale.js";
import { Overlay } from "./overlay.js";
import { Pane } from "./pane.js";

export const LAYOUTS = ["all", "pair", "one"];
/** The previous visit lies below this one unless another grid shows the images this much larger. */
const PAIRED_ADVANTAGE = 1.1;
export const OVERLAYS = ["outline", "fill", "off"];

export class Viewer extends EventTarget {
  /** @param {HTMLElement} node @param {import("./reading.js").Reading} reading */
  constructor(node, reading) {
    super();
    this.node = node;
    this.reading = reading;
    this.grid = reading.grid;
    this.overlay = new Overlay(reading, reading.grid);
    const { info } = reading;
    this.view = {
      axis: info.slice_axis, position: this.grid.shape.map((n) => Math.floor(n / 2)), zoom: 1, pan: [0, 0], smooth: true, overlay: "outline",
      hold: false, flicker: false, editing: false, crosshair: false, active: info.panes[0].id, layout: "all", selected: null,
      visits: new Set(info.panes.map(({ visit }) => visit)).size,
    };
    /** @type {Map<string, GreyScale>} by contrast */
    this.scales = new Map();
    /** @type {Pane[]} */
    this.panes = info.panes.map((pane) => new Pane(pane, this.grid, this.scaleOf(pane)));
    for (const pane of this.panes) pane.previous = this.panes.find((other) => other.info.id === `previous_${pane.info.id}`) ?? null;
    this.tool = null;
    this.hovered = null;
    this.frame = 0;
    reading.addEventListener("change", () => this.redraw({ marks: true }));
    this.arranged = [0, 0];
    this.arrange();
    new ResizeObserver(() => { if (node.clientWidth !== this.arranged[0] || node.clientHeight !== this.arranged[1]) this.arrange(); }).observe(node);
  }

  scaleOf(pane) {
    const contrast = contrastOf(pane.id);
    if (!this.scales.has(contrast)) this.scales.set(contrast, new GreyScale(pane.window));
    return this.scales.get(contrast);
  }

  get plane() {
    return PLANES[this.view.axis];
  }

  get slice() {
    return this.view.position[this.view.axis];
  }

  /** @returns {Pane} */
  get active() {
    return this.panes.find((pane) => pane.info.id === this.view.active) ?? this.panes[0];
  }

  /** Panes of the present layout. */
  shown() {
    const { active } = this;
    if (this.view.layout === "all") return this.panes;
    if (this.view.layout === "one") return [active];
    const contrast = contrastOf(active.info.id);
    return this.panes.filter((pane) => contrastOf(pane.info.id) === contrast);
  }

  /** Lay the panes out: this visit above, the previous visit below it, unless another grid shows them larger. */
  arrange() {
    const shown = this.shown();
    const current = shown.filter((pane) => pane.info.visit === "current");
    const previous = shown.filter((pane) => pane.info.visit === "previous");
    const [nu, nv] = this.grid.planeSize(this.plane);
    const [du, dv] = this.grid.pixelMm(this.plane);
    const width = this.node.clientWidth;
    const height = this.node.clientHeight;
    this.arranged = [width, height];
    const scale = (columns, rows) => Math.min(width / columns / (nu * du), height / rows / (nv * dv));
    let best = { columns: 1, paired: false, scale: 0 };
    const offer = (columns, rows, paired) => { if (scale(columns, rows) > best.scale * (best.paired ? PAIRED_ADVANTAGE : 1.001)) best = { columns, paired, scale: scale(columns, rows) }; };
    if (previous.length) {
      offer(current.length, 2, true);
      for (let columns = 2; columns <= shown.length + 1; columns += 2) offer(columns, Math.ceil((2 * current.length) / columns), false);
    } else {
      const step = this.reading.info.adjudication && shown.length >= 3 ? 3 : 1; // result, read A and read B side by side
      for (let columns = step; columns <= shown.length; columns += step) offer(columns, Math.ceil(shown.length / columns), false);
    }
    const order = best.paired ? [...current, ...current.map((pane) => pane.previous)] : current.flatMap((pane) => [pane, ...(previous.length ? [pane.previous] : [])]);
    if (this.view.layout === "one") order.splice(0, order.length, ...shown);
    while (order.length && !order[order.length - 1]) order.pop();
    this.node.style.gridTemplateColumns = `repeat(${best.columns}, minmax(0, 1fr))`;
    this.node.style.gridAutoRows = "minmax(0, 1fr)";
    this.node.replaceChildren(...order.map((pane) => pane?.node ?? Object.assign(document.createElement("div"), { className: "gap" })));
    this.redraw({ image: true, marks: true });
  }

  /** Plan a redraw. @param {{image?: boolean, marks?: boolean}} what @param {Pane[]} panes all of them if not given */
  redraw(what, panes = this.panes) {
    for (const { dirty } of panes) {
      dirty.image ||= Boolean(what.image);
      dirty.marks ||= Boolean(what.marks || what.image);
    }
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    for (const pane of this.shown()) {
      const resized = pane.resize();
      const { image, marks } = pane.dirty;
      pane.dirty = { image: false, marks: false };
      if (image || resized) pane.drawImage(this.view, this.plane);
      if (marks || resized) this.drawMarks(pane);
    }
    this.dispatchEvent(new Event("drawn"));
  }

  drawMarks(pane) {
    const tool = this.tool;
    pane.drawMarks(this.view, this.plane, this.overlay, tool?.draw ? (...args) => tool.draw(...args) : null);
  }

  /** Change the view. @param {Record<string, any>} change */
  set(change) {
    Object.assign(this.view, change);
    if ("layout" in change || "axis" in change || ("active" in change && this.view.layout !== "all")) this.arrange();
    this.redraw({ image: true });
    this.dispatchEvent(new Event("view"));
  }

  /** @param {import("./geometry.js").Triple} voxel */
  goTo(voxel) {
    this.set({ position: this.grid.clamp(voxel) });
  }

  /** @param {number} slice */
  toSlice(slice) {
    const position = [...this.view.position];
    position[this.view.axis] = slice;
    this.goTo(position);
  }

  /** Show a lesion: all panes go to its centre; a zoomed view moves so that it is seen. @param {any} lesion */
  showLesion(lesion) {
    const pan = this.view.zoom > 1 ? this.panTo(lesion.centre) : this.view.pan;
    this.set({ position: this.grid.clamp(lesion.centre), selected: `${lesion.kind}:${lesion.number}`, pan });
  }

  panTo(voxel) {
    const pixel = this.grid.toPixel(this.plane, voxel);
    const size = this.grid.planeSize(this.plane);
    return this.grid.pixelMm(this.plane).map((mm, axis) => (pixel[axis] + 0.5 - size[axis] / 2) * mm);
  }

  /** Zoom about a fixed pixel. @param {number} factor @param {[number, number]|null} pixel */
  zoomBy(factor, pixel = null) {
    const zoom = Math.min(Math.max(this.view.zoom * factor, 0.5), 30);
    const change = this.view.zoom / zoom;
    const size = this.grid.planeSize(this.plane);
    const pan = pixel
      ? this.grid.pixelMm(this.plane).map((mm, axis) => { const at = (pixel[axis] - size[axis] / 2) * mm; return at - (at - this.view.pan[axis]) * change; })
      : this.view.pan;
    this.set({ zoom, pan });
  }

  /** @param {Pane} pane @param {Uint16Array} volume */
  setVolume(pane, volume) {
    pane.volume = volume;
    this.redraw({ image: true }, this.panes.filter((shown) => shown === pane || shown.previous === pane));
  }
}
