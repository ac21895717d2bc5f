/** The marks on the images: outlines and fills of the three kinds, computed once per slice for all panes. */

import { COLOURS, css } from "./palette.js";
import { outlines } from "./contours.js";

/** Width of outlines, within 1 and 2 screen pixels: thin ones leave small lesions visible in small panes. */
const LINE_MM = 0.6;
/** Name of the read of the previous visit. */
export const PREVIOUS = "previous";
const FILL_ALPHA = 90;
const REJECTED_ALPHA = 35;
/** Dashes tell the state without colour: accepted and drawn solid, undecided dashed, rejected dotted. */
const DASHES = { accept: [], drawn: [], open: [6, 4], reject: [1.5, 4] };

export class Overlay {
  /** @param {import("./reading.js").Reading} reading @param {import("./geometry.js").Grid} grid */
  constructor(reading, grid) {
    this.reading = reading;
    this.grid = grid;
    /** @type {Map<string, any>} by kind */
    this.cache = new Map();
    /** @type {Set<string>} kinds that are hidden */
    this.hidden = new Set();
  }

  /** @param {string} kind @param {number} number */
  state(kind, number) {
    const lesion = this.reading.lesion(kind, number);
    if (!lesion) return "drawn";
    if (lesion.settled) return "accept";
    return lesion.decision ?? (lesion.proposed ? "open" : "drawn");
  }

  /**
   * Outlines and fill of one kind in a slice.
   * @param {string} kind @param {import("./geometry.js").Plane} plane @param {number} slice
   * @param {string|null} read A or B for the outlines of a read, previous for the previous visit, null for the present marks
   */
  marks(kind, plane, slice, read = null) {
    const tag = `${plane.axis}/${slice}/${this.reading.version}`;
    const key = read ? `${read}/${kind}` : kind;
    let entry = this.cache.get(key);
    if (entry?.tag === tag) return entry;
    const [width, height] = this.grid.planeSize(plane);
    const values = new Uint16Array(width * height);
    const { previous, reads } = this.reading;
    const source = read === PREVIOUS ? previous : read ? reads.get(read) : this.reading.labels;
    const labels = source?.get(kind);
    if (labels) this.grid.slice(labels, plane, slice, values); // the reads are loaded last
    entry = { tag, read, values, width, height, paths: outlines(values, width, height), boxes: new Map(), fill: null };
    this.cache.set(key, entry);
    return entry;
  }

  fill(kind, entry) {
    if (entry.fill) return entry.fill;
    const canvas = document.createElement("canvas");
    canvas.width = entry.width;
    canvas.height = entry.height;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const image = context.createImageData(entry.width, entry.height);
    const pixels = new Uint32Array(image.data.buffer);
    const [r, g, b] = COLOURS[kind];
    const colours = new Map([...entry.paths.keys()].map((label) => {
      const alpha = !entry.read && this.state(kind, label) === "reject" ? REJECTED_ALPHA : FILL_ALPHA;
      return [label, ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0];
    }));
    entry.values.forEach((label, at) => { if (label) pixels[at] = colours.get(label); });
    context.putImageData(image, 0, 0);
    entry.fill = canvas;
    return canvas;
  }

  /** Brackets at the selected lesion of this visit, on an image of the previous one. */
  bracketSelected(context, kind, { plane, slice, transform, selected, ratio }) {
    const present = this.marks(kind, plane, slice);
    for (const label of present.paths.keys()) {
      if (selected === `${kind}:${label}`) drawBrackets(context, pixelBox(present, label), transform, ratio);
    }
  }

  /**
   * Draw the marks of a slice.
   * @param {CanvasRenderingContext2D} context @param {{plane: any, slice: number, transform: any, mode: string, selected: string|null, ratio: number, read: string|null}} view
   */
  draw(context, { plane, slice, transform, mode, selected, ratio, read }) {
    const width = Math.min(Math.max(transform.scale * LINE_MM, ratio), 2 * ratio);
    const matrix = new DOMMatrix([transform.a, 0, 0, transform.d, transform.e, transform.f]);
    for (const { id: kind } of this.reading.info.kinds) {
      if (this.hidden.has(kind)) continue;
      const entry = this.marks(kind, plane, slice, read);
      if (read === PREVIOUS) this.bracketSelected(context, kind, { plane, slice, transform, selected, ratio });
      if (!entry.paths.size) continue;
      if (mode === "fill") {
        context.imageSmoothingEnabled = false;
        context.drawImage(this.fill(kind, entry), transform.e, transform.f, entry.width * transform.a, entry.height * transform.d);
      }
      for (const [label, path] of entry.paths) {
        const state = read ? "accept" : this.state(kind, label);
        const screen = new Path2D();
        screen.addPath(path, matrix);
        if (read !== PREVIOUS && selected === `${kind}:${label}`) drawBrackets(context, pixelBox(entry, label), transform, ratio);
        if (mode === "fill") continue;
        context.setLineDash(DASHES[state].map((length) => length * ratio));
        context.lineWidth = (state === "reject" ? 0.6 : 1) * width;
        context.strokeStyle = css(kind, state === "reject" ? 0.75 : 1);
        context.stroke(screen);
      }
    }
    context.setLineDash([]);
  }
}

/** Box of a label in a slice, in pixels. */
function pixelBox({ values, width, boxes }, label) {
  if (boxes.has(label)) return boxes.get(label);
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  values.forEach((value, at) => {
    if (value !== label) return;
    const i = at % width;
    const j = (at - i) / width;
    box.splice(0, 4, Math.min(box[0], i), Math.min(box[1], j), Math.max(box[2], i + 1), Math.max(box[3], j + 1));
  });
  boxes.set(label, box);
  return box;
}

/** Corner brackets around the selected lesion; they leave its outline free. */
function drawBrackets(context, [left, top, right, bottom], { a, d, e, f }, ratio) {
  const margin = 7 * ratio;
  const arm = 7 * ratio;
  const xs = [e + left * a - margin, e + right * a + margin];
  const ys = [f + top * d - margin, f + bottom * d + margin];
  context.beginPath();
  xs.forEach((x, atRight) => ys.forEach((y, atBottom) => {
    context.moveTo(x + (atRight ? -arm : arm), y);
    context.lineTo(x, y);
    context.lineTo(x, y + (atBottom ? -arm : arm));
  }));
  context.setLineDash([]);
  context.lineWidth = 2 * ratio;
  context.strokeStyle = "#fff";
  context.stroke();
}
