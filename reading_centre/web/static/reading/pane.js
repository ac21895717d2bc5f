/** One pane: a canvas for the image, one for the marks above it, and its captions. */

import { element } from "./dom.js";
import { screenTransform } from "./geometry.js";
import { PREVIOUS } from "./overlay.js";
import { TEXTS } from "./texts.js";

export class Pane {
  /** @param {any} info of the case's panes @param {import("./geometry.js").Grid} grid @param {import("./grayscale.js").GreyScale} scale */
  constructor(info, grid, scale) {
    this.info = info;
    this.grid = grid;
    this.scale = scale;
    /** @type {Uint16Array|null} */
    this.volume = null;
    /** @type {Pane|null} pane of the previous visit, for the flicker */
    this.previous = null;
    this.dirty = { image: true, marks: true };
    this.buffer = document.createElement("canvas");
    this.bufferTag = "";
    this.image = element("canvas", { class: "image", "aria-hidden": "true" });
    this.marks = element("canvas", { class: "marks", "aria-hidden": "true" });
    this.captions = Object.fromEntries(["title", "slice", "left", "right", "top", "bottom", "window"].map((name) =>
      [name, element("span", { class: `caption ${name}` })]));
    this.node = element("div", { class: "pane", role: "img", "data-pane": info.id }, this.image, this.marks, ...Object.values(this.captions));
  }

  /** Fit the canvases to the pane. @returns {boolean} true if the size changed */
  resize() {
    this.ratio = devicePixelRatio || 1;
    const width = Math.round(this.node.clientWidth * this.ratio);
    const height = Math.round(this.node.clientHeight * this.ratio);
    if (this.image.width === width && this.image.height === height) return false;
    for (const canvas of [this.image, this.marks]) { canvas.width = width; canvas.height = height; }
    return true;
  }

  /** @param {any} view @param {import("./geometry.js").Plane} plane */
  transform(view, plane) {
    return screenTransform(this.grid, plane, view, this.image.width, this.image.height);
  }

  /** Slice in native pixels, through the grey scale. */
  slicePixels(volume, plane, slice, owner) {
    const tag = `${owner}/${plane.axis}/${slice}/${this.scale.version}`;
    if (tag === this.bufferTag) return;
    const [width, height] = this.grid.planeSize(plane);
    this.buffer.width = width;
    this.buffer.height = height;
    const context = /** @type {CanvasRenderingContext2D} */ (this.buffer.getContext("2d"));
    const values = new Uint16Array(width * height);
    this.grid.slice(volume, plane, slice, values);
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const { table } = this.scale;
    for (let at = 0; at < values.length; at += 1) pixels[at] = table[values[at]];
    context.putImageData(image, 0, 0);
    this.bufferTag = tag;
  }

  /** @param {any} view @param {import("./geometry.js").Plane} plane */
  drawImage(view, plane) {
    const shown = view.flicker && this.previous?.volume ? this.previous : this;
    const context = this.image.getContext("2d", { alpha: false });
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.image.width, this.image.height);
    const slice = view.position[plane.axis];
    if (shown.volume) {
      this.slicePixels(shown.volume, plane, slice, shown.info.id);
      const { a, d, e, f } = this.transform(view, plane);
      context.imageSmoothingEnabled = view.smooth;
      context.drawImage(this.buffer, e, f, this.buffer.width * a, this.buffer.height * d);
    }
    this.caption(shown, plane, slice, view);
  }

  caption(shown, plane, slice, view) {
    const visit = TEXTS.visits[shown.info.visit];
    const count = this.grid.shape[plane.axis];
    const part = shown.info.read ? TEXTS.reads[shown.info.read] : view.visits > 1 ? visit : "";
    const texts = { title: [shown.info.title, part].filter(Boolean).join(" · "), slice: TEXTS.sliceShort(slice + 1, count), left: plane.left, right: plane.right,
      top: plane.top, bottom: plane.bottom, window: this.scale.preset === "standard" ? "" : TEXTS.windowReadout(this.scale.low, this.scale.high) };
    for (const [name, text] of Object.entries(texts)) if (this.captions[name].textContent !== text) this.captions[name].textContent = text;
    this.node.classList.toggle("previous", shown.info.visit === "previous");
    this.node.classList.toggle("flicker", shown !== this);
    this.node.classList.toggle("empty", !shown.volume);
    this.node.setAttribute("aria-label", `${texts.title}, ${TEXTS.planes[plane.axis]}, ${TEXTS.slice(slice + 1, count)}`);
    this.node.toggleAttribute("data-active", view.active === this.info.id);
  }

  /**
   * Draw the marks, crosshair and what a tool shows.
   * @param {any} view @param {import("./geometry.js").Plane} plane @param {import("./overlay.js").Overlay} overlay
   * @param {((context: CanvasRenderingContext2D, transform: any, pane: Pane) => void)|null} tool
   */
  drawMarks(view, plane, overlay, tool) {
    const context = this.marks.getContext("2d");
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    const transform = this.transform(view, plane);
    const slice = view.position[plane.axis];
    if (view.overlay !== "off" && !view.hold) {
      overlay.draw(context, { plane, slice, transform, mode: view.overlay, selected: view.selected, ratio: this.ratio, read: this.readShown(view, overlay) });
    }
    if (view.crosshair) this.drawCrosshair(context, view, plane, transform);
    tool?.(context, transform, this);
  }

  /** Read whose outlines lie on the image. Tools that edit need the present marks on every image. */
  readShown(view, overlay) {
    const earlier = this.info.visit === "previous" || (view.flicker && this.previous?.volume);
    return earlier && overlay.reading.previous.size && !view.editing ? PREVIOUS : this.info.read;
  }

  drawCrosshair(context, view, plane, transform) {
    const [i, j] = this.grid.toPixel(plane, view.position);
    const x = Math.round(transform.e + (i + 0.5) * transform.a) + 0.5;
    const y = Math.round(transform.f + (j + 0.5) * transform.d) + 0.5;
    const gap = 14 * this.ratio;
    context.beginPath();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, this.marks.width, y], [x, 0, x, y - gap], [x, y + gap, x, this.marks.height]]) {
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.lineWidth = this.ratio;
    context.strokeStyle = "rgba(120, 255, 170, 0.45)";
    context.stroke();
  }

  /** Pixel (fractions allowed) below a pointer. @param {PointerEvent|WheelEvent|MouseEvent} event */
  pixelAt(event, view, plane) {
    const box = this.node.getBoundingClientRect();
    const { a, d, e, f } = this.transform(view, plane);
    return [((event.clientX - box.left - this.node.clientLeft) * this.ratio - e) / a, ((event.clientY - box.top - this.node.clientTop) * this.ratio - f) / d];
  }
}
