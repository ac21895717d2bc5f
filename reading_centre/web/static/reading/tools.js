/**
 * Tools of the pointer. Each has `down`, `move`, `up` with a point {pixel, voxel, pane, shift}, `enter` for the keyboard
 * (the point is the crosshair), `cancel`, and may `draw` on the marks.
 */

import { toast } from "./dom.js";
import { between, brush, polygon, runsOf } from "./shapes.js";
import { css } from "./palette.js";
import { TEXTS } from "./texts.js";

const CLICK_PX = 4;
const MEASURE = "#7dffb0";

class Tool {
  /** @param {string} name @param {import("./desk.js").Desk} desk */
  constructor(name, desk) {
    this.name = name;
    this.desk = desk;
  }

  get edits() { return true; }
  down() {}
  move() {}
  up() {}
  cancel() {}
  enter(point) { this.down(point); this.up(point); }
}

class Navigate extends Tool {
  get edits() { return false; }
  down(point) { this.start = point; this.moved = false; this.pan = this.desk.viewer.view.pan; }

  move(point) {
    if (!this.start) return;
    const dx = point.client[0] - this.start.client[0];
    const dy = point.client[1] - this.start.client[1];
    if (Math.hypot(dx, dy) > CLICK_PX) this.moved = true;
    if (!this.moved) return;
    const { scale } = point.pane.transform(this.desk.viewer.view, this.desk.viewer.plane);
    const mm = point.pane.ratio / scale;
    this.desk.viewer.set({ pan: [this.pan[0] - dx * mm, this.pan[1] - dy * mm] });
  }

  up(point) {
    if (this.start && !this.moved) this.enter(point);
    this.start = null;
  }

  cancel() { this.start = null; }

  enter(point) {
    this.desk.viewer.goTo(point.voxel);
    const lesion = this.desk.lesionAt(point.voxel);
    this.desk.select(lesion, false);
  }
}

/** Brush and eraser. */
class Brush extends Tool {
  get erases() { return this.name === "eraser"; }

  down(point) {
    const { reading, settings } = this.desk;
    this.kind = settings.kind;
    this.before = new Map();
    this.last = point.pixel;
    this.label = this.erases ? 0 : this.desk.labelFor(this.kind, this.footprint(point.pixel));
    if (this.label === null) { this.before = null; return; }
    this.labels = reading.labels.get(this.kind);
    this.paint([point.pixel]);
  }

  footprint(pixel) {
    const { viewer, settings } = this.desk;
    return brush(this.desk.grid, viewer.plane, pixel, viewer.slice, settings.brushMm, settings.threeD);
  }

  paint(pixels) {
    for (const pixel of pixels) {
      for (const at of this.footprint(pixel)) {
        const old = this.labels[at];
        if (this.erases ? old === 0 || this.desk.isRejected(this.kind, old) : old !== 0) continue;
        this.before.set(at, old);
        this.labels[at] = this.label;
      }
    }
    this.desk.reading.version += 1;
    this.desk.viewer.redraw({ marks: true });
  }

  move(point) {
    if (!this.before) return;
    const [du] = this.desk.grid.pixelMm(this.desk.viewer.plane);
    this.paint(between(this.last, point.pixel, Math.max(this.desk.settings.brushMm / du / 3, 0.5)));
    this.last = point.pixel;
  }

  up() {
    if (!this.before) return;
    const { before, kind, label } = this;
    this.cancel();
    this.desk.change(kind, runsOf(before, label, this.desk.grid.shape[0]), label);
  }

  /** Take the stroke back; the operation, if any, does it again. */
  cancel() {
    if (!this.before) return;
    for (const [at, old] of this.before) this.labels[at] = old;
    this.before = null;
    this.desk.reading.version += 1;
    this.desk.viewer.redraw({ marks: true });
  }

  draw(context, transform, pane) {
    const point = this.desk.hover;
    if (!point || point.pane !== pane) return;
    const [u, v] = point.pixel;
    const [du, dv] = this.desk.grid.pixelMm(this.desk.viewer.plane);
    const radius = this.desk.settings.brushMm / 2;
    context.beginPath();
    context.ellipse(transform.e + u * transform.a, transform.f + v * transform.d, (radius / du) * transform.a, (radius / dv) * transform.d, 0, 0, 7);
    context.lineWidth = 1.5 * pane.ratio;
    context.setLineDash(this.erases ? [3 * pane.ratio, 3 * pane.ratio] : []);
    context.strokeStyle = this.erases ? "#fff" : css(this.desk.settings.kind);
    context.stroke();
    context.setLineDash([]);
  }
}

class Lasso extends Tool {
  constructor(name, desk) {
    super(name, desk);
    this.corners = [];
  }

  down(point) { this.corners = [point.pixel]; this.dragging = true; }
  move(point) { if (this.dragging) { this.corners.push(point.pixel); this.desk.viewer.redraw({ marks: true }); } }
  up(point) { if (this.dragging) { this.dragging = false; this.close(point.shift); } }
  cancel() { this.corners = []; this.dragging = false; this.desk.viewer.redraw({ marks: true }); }

  /** By keyboard: a corner at the crosshair; Shift closes. */
  enter(point) {
    if (point.shift) { this.close(false); return; }
    this.corners.push(point.pixel);
    this.desk.viewer.redraw({ marks: true });
  }

  /** @param {boolean} erase */
  close(erase) {
    const { reading, viewer, grid, settings } = this.desk;
    const inside = polygon(grid, viewer.plane, this.corners, viewer.slice);
    this.cancel();
    const labels = reading.labels.get(settings.kind);
    const label = erase ? 0 : this.desk.labelFor(settings.kind, inside);
    if (label === null || !inside.length) return;
    const changed = inside.filter((at) => (erase ? labels[at] !== 0 && !this.desk.isRejected(settings.kind, labels[at]) : labels[at] === 0));
    this.desk.change(settings.kind, runsOf(new Map(changed.map((at) => [at, labels[at]])), label, grid.shape[0]), label);
  }

  draw(context, transform, pane) {
    if (!this.corners.length) return;
    context.beginPath();
    for (const [u, v] of this.corners) context.lineTo(transform.e + u * transform.a, transform.f + v * transform.d);
    context.closePath();
    context.lineWidth = 1.5 * pane.ratio;
    context.strokeStyle = css(this.desk.settings.kind);
    context.stroke();
  }
}

class Fill extends Tool {
  async up(point) {
    const { settings, api, sync } = this.desk;
    await this.desk.ask(async () => {
      await sync.drained();
      const pane = point.pane.info.visit === "current" ? point.pane.info.volume : this.desk.reading.info.panes[0].volume;
      const { runs } = await api.post("tools/fill", { kind: settings.kind, voxel: point.voxel, pane });
      if (!runs.length) toast(TEXTS.messages.noFill);
      else this.desk.change(settings.kind, runs, runs[0][3]);
    });
  }
}

class Join extends Tool {
  up(point) {
    const { reading, viewer } = this.desk;
    const target = this.desk.selected;
    if (!target) { toast(TEXTS.messages.nothingSelected); return; }
    const other = reading.lesion(target.kind, reading.labelAt(target.kind, point.voxel));
    if (!other || other.number === target.number) { toast(TEXTS.messages.joinSelf); return; }
    if ([target, other].some((lesion) => lesion.decision === "reject")) { toast(TEXTS.messages.rejectedDraw); return; }
    const voxels = new Map(reading.voxelsOf(other).map((at) => [at, other.number]));
    const old = { decision: other.decision, reason: other.reason }; // a proposed lesion is accepted as a part of the other one
    const accepted = reading.info.adjudication || !reading.isUndecided(other) ? [] : [{ op: "decide", kind: other.kind, lesion: other.number, decision: "accept", reason: "", old }];
    this.desk.change(target.kind, runsOf(voxels, target.number, this.desk.grid.shape[0]), target.number, accepted);
    viewer.redraw({ marks: true });
  }
}

class Measure extends Tool {
  constructor(name, desk) {
    super(name, desk);
    /** @type {any[]} */
    this.lines = [];
  }

  get edits() { return false; }

  down(point) {
    const { viewer } = this.desk;
    this.line = { axis: viewer.view.axis, slice: viewer.slice, from: point.pixel, to: point.pixel };
    this.lines.push(this.line);
  }

  move(point) { if (this.line) { this.line.to = point.pixel; this.desk.viewer.redraw({ marks: true }); } }

  up(point) {
    if (!this.line) return;
    this.line.to = point.pixel;
    if (Math.hypot(this.line.to[0] - this.line.from[0], this.line.to[1] - this.line.from[1]) < 0.5) this.lines.pop();
    this.line = null;
    this.desk.viewer.redraw({ marks: true });
  }

  enter(point) { if (this.line) this.up(point); else this.down(point); }
  cancel() { this.lines = []; this.line = null; this.desk.viewer.redraw({ marks: true }); }

  /** @param {any} line @returns {number} */
  length(line) {
    const [du, dv] = this.desk.grid.pixelMm(this.desk.viewer.plane);
    return Math.hypot((line.to[0] - line.from[0]) * du, (line.to[1] - line.from[1]) * dv);
  }

  draw(context, transform, pane) {
    const { viewer } = this.desk;
    context.font = `600 ${14 * pane.ratio}px system-ui, sans-serif`;
    context.lineJoin = "round";
    context.fillStyle = MEASURE;
    for (const line of this.lines) {
      if (line.axis !== viewer.view.axis || line.slice !== viewer.slice) continue;
      const [x1, y1, x2, y2] = [line.from, line.to].flatMap(([u, v]) => [transform.e + u * transform.a, transform.f + v * transform.d]);
      const text = [TEXTS.mm(this.length(line)), x2 + 8 * pane.ratio, y2 - 8 * pane.ratio];
      for (const [colour, width] of [["#000", 4], [MEASURE, 1.5]]) { // dark edges: the line lies on bright and dark tissue
        context.strokeStyle = colour;
        context.lineWidth = width * pane.ratio;
        context.beginPath();
        context.moveTo(x1, y1);
        context.lineTo(x2, y2);
        context.stroke();
        if (colour !== MEASURE) context.strokeText(...text);
      }
      context.fillText(...text);
    }
  }
}

/** @param {import("./desk.js").Desk} desk @returns {Record<string, any>} */
export function makeTools(desk) {
  const classes = { navigate: Navigate, brush: Brush, eraser: Brush, fill: Fill, lasso: Lasso, join: Join, measure: Measure };
  return Object.fromEntries(Object.entries(classes).map(([name, Class]) => [name, new Class(name, desk)]));
}
