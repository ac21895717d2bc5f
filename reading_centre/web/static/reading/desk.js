/** The reader's desk: what keys, buttons and the pointer do. */

import { choose, toast } from "./dom.js";
import { keyOf } from "./reading.js";
import { mainLabel, runsOf } from "./shapes.js";
import { makeTools } from "./tools.js";
import { LAYOUTS } from "./viewer.js";
import { PRESETS } from "./grayscale.js";
import { TEXTS } from "./texts.js";

export const BRUSH_MM = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40];
const WHEEL_STEP = 40;

export class Desk extends EventTarget {
  /**
   * @param {{api: any, reading: import("./reading.js").Reading, viewer: import("./viewer.js").Viewer,
   *   edits: import("./edits.js").Edits, sync: import("./sync.js").Sync}} parts
   */
  constructor({ api, reading, viewer, edits, sync }) {
    super();
    Object.assign(this, { api, reading, viewer, edits, sync });
    this.grid = reading.grid;
    this.settings = { kind: reading.info.kinds[0].id, brushMm: 4, threeD: false, advance: localStorage.getItem("advance") !== "no", order: "number" };
    this.writable = false;
    /** @type {any} point below the pointer */
    this.hover = null;
    this.wheel = 0;
    this.tools = makeTools(this);
    this.useTool("navigate");
  }

  // --- settings

  changedSettings() {
    this.viewer.redraw({ marks: true });
    this.dispatchEvent(new Event("settings"));
  }

  /** @param {string} name */
  useTool(name) {
    if (this.tool && this.tool.name !== name && this.tool.name !== "measure") this.tool.cancel();
    this.tool = this.tools[name];
    const { measure } = this.tools;
    const shown = this.tool;
    this.viewer.tool = { draw: (...args) => { shown.draw?.(...args); if (shown !== measure) measure.draw(...args); } };
    this.viewer.node.dataset.tool = name;
    this.viewer.view.editing = this.tool.edits;
    if (this.tool.edits && this.viewer.view.overlay === "off") this.viewer.set({ overlay: "outline" }); // nobody draws unseen
    this.changedSettings();
  }

  /** @param {string} kind */
  useKind(kind) {
    this.settings.kind = kind;
    this.changedSettings();
  }

  nextKind() {
    const ids = this.reading.info.kinds.map(({ id }) => id);
    this.useKind(ids[(ids.indexOf(this.settings.kind) + 1) % ids.length]);
  }

  /** @param {number} steps */
  resizeBrush(steps) {
    const at = BRUSH_MM.findIndex((mm) => mm >= this.settings.brushMm);
    this.settings.brushMm = BRUSH_MM[Math.min(Math.max(at + steps, 0), BRUSH_MM.length - 1)];
    this.changedSettings();
  }

  nextLayout() {
    this.viewer.set({ layout: LAYOUTS[(LAYOUTS.indexOf(this.viewer.view.layout) + 1) % LAYOUTS.length] });
  }

  nextPlane() {
    this.viewer.set({ axis: (this.viewer.view.axis + 2) % 3, pan: [0, 0] });
  }

  nextPreset() {
    const names = Object.keys(PRESETS);
    this.usePreset(names[(names.indexOf(this.viewer.active.scale.preset) + 1) % names.length]);
  }

  /** @param {string} name */
  usePreset(name) {
    this.viewer.active.scale.usePreset(name);
    this.viewer.redraw({ image: true });
    this.changedSettings();
  }

  flicker() {
    if (!this.viewer.panes.some((pane) => pane.previous)) { toast(TEXTS.messages.oneVisit); return; }
    this.viewer.set({ flicker: !this.viewer.view.flicker });
  }

  /** @param {number} delta @param {number} mode of a wheel event */
  scroll(delta, mode) {
    this.wheel = mode === 0 && Math.abs(delta) < WHEEL_STEP ? this.wheel + delta : Math.sign(delta) * WHEEL_STEP;
    if (Math.abs(this.wheel) < WHEEL_STEP) return;
    this.viewer.toSlice(this.viewer.slice - Math.sign(this.wheel));
    this.wheel = 0;
  }

  // --- selection

  get selected() {
    const [kind, number] = (this.viewer.view.selected ?? ":0").split(":");
    return this.reading.lesion(kind, Number(number));
  }

  /** @param {any} lesion @param {boolean} show whether the panes go to it */
  select(lesion, show = true) {
    if (lesion && show) this.viewer.showLesion(lesion);
    else this.viewer.set({ selected: lesion ? keyOf(lesion.kind, lesion.number) : null });
    if (lesion) this.useKind(lesion.kind);
  }

  /** Lesion at a voxel; the drawing type first. @param {import("./geometry.js").Triple} voxel */
  lesionAt(voxel) {
    const kinds = [this.settings.kind, ...this.reading.info.kinds.map(({ id }) => id)].filter((kind) => !this.viewer.overlay.hidden.has(kind));
    for (const kind of kinds) {
      const lesion = this.reading.lesion(kind, this.reading.labelAt(kind, voxel));
      if (lesion) return lesion;
    }
    return null;
  }

  /** All lesions in the order of the list. */
  ordered() {
    const kinds = this.reading.info.kinds.map(({ id }) => id);
    const { axis } = this.viewer.view;
    const disputed = (a, b) => Number(a.settled) - Number(b.settled); // what two reads differ in comes first
    const by = {
      number: (a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind) || a.number - b.number,
      slice: (a, b) => b.centre[axis] - a.centre[axis] || by.number(a, b),
      volume: (a, b) => b.volume_mm3 - a.volume_mm3 || by.number(a, b),
      probability: (a, b) => (a.probability ?? 2) - (b.probability ?? 2) || by.number(a, b),
    };
    return this.reading.listed().sort((a, b) => disputed(a, b) || by[this.settings.order](a, b));
  }

  /** @param {number} direction 1 or -1 @param {(lesion: any) => boolean} wanted */
  step(direction, wanted) {
    const order = this.ordered();
    const { selected } = this;
    const from = selected ? order.findIndex((lesion) => lesion.kind === selected.kind && lesion.number === selected.number) : direction > 0 ? -1 : 0;
    for (let at = 1; at <= order.length; at += 1) {
      const lesion = order[(((from + direction * at) % order.length) + order.length) % order.length];
      if (wanted(lesion)) { this.select(lesion); return true; }
    }
    return false;
  }

  /** @param {number} direction */
  nextUndecided(direction = 1) {
    if (!this.step(direction, (lesion) => this.reading.isUndecided(lesion))) toast(TEXTS.messages.allDecided);
  }

  /** @param {number} direction */
  nextLesion(direction = 1) {
    this.step(direction, () => true);
  }

  // --- decisions

  /** True if edits are allowed; says so if not. */
  mayEdit() {
    if (!this.writable) toast(TEXTS.messages.readOnly);
    return this.writable;
  }

  /** @param {any} tool */
  mayUse(tool) {
    return !tool.edits || this.mayEdit();
  }

  /** The selected lesion if it may be changed. */
  target() {
    if (!this.mayEdit()) return null;
    if (!this.selected) toast(TEXTS.messages.nothingSelected);
    return this.selected;
  }

  /** @param {"accept"|"reject"|null} decision */
  async decide(decision) {
    const lesion = this.target();
    if (!lesion || this.isSettled(lesion)) return;
    if (decision === "accept" && !lesion.voxels && !this.reading.info.adjudication && !this.reading.anyIn(lesion)) { toast(TEXTS.messages.erased); return; }
    let reason = "";
    const { reasons } = this.reading.info;
    if (decision === "reject" && reasons.length) {
      reason = await choose(TEXTS.types.reasonTitle, reasons.map(({ code, text }) => ({ value: code, text })), TEXTS.types.cancel);
      if (reason === null) return;
    }
    const old = { decision: lesion.decision, reason: lesion.reason };
    if (old.decision !== decision || old.reason !== reason) {
      this.edits.do([{ op: "decide", kind: lesion.kind, lesion: lesion.number, decision, reason, old }]);
    }
    this.goOn();
  }

  /** True if two reads outline a lesion in the same way; says so. @param {any} lesion */
  isSettled(lesion) {
    if (lesion.settled) toast(TEXTS.messages.settled);
    return lesion.settled;
  }

  /** Take the outline of read A, of read B, or of both. A read without the lesion rejects it. @param {string[]} names */
  take(names) {
    if (!this.reading.reads.size) return;
    const lesion = this.target();
    if (!lesion || this.isSettled(lesion)) return;
    if (!lesion.proposed) { toast(TEXTS.messages.inNoRead); return; }
    const { kind, number } = lesion;
    const { runs, voxels } = this.reading.outlineOf(lesion, names);
    const decision = voxels ? "accept" : "reject";
    const old = { decision: lesion.decision, reason: lesion.reason };
    const ops = voxels && runs.length ? [{ op: "voxels", kind, runs }] : [];
    if (old.decision !== decision || old.reason) ops.push({ op: "decide", kind, lesion: number, decision, reason: "", old });
    if (ops.length) this.edits.do(ops);
    this.goOn();
  }

  /** @param {"new"|"enlarging"|"none"} change */
  decideChange(change) {
    const lesion = this.target();
    if (!lesion || lesion.kind !== "T2" || !this.reading.info.changes_asked) return;
    if (lesion.change !== change) this.edits.do([{ op: "change", lesion: lesion.number, change, old: lesion.change }]);
    this.goOn();
  }

  /** Go to the next undecided lesion when this one is decided. */
  goOn() {
    const lesion = this.selected;
    if (this.settings.advance && lesion && lesion.decision !== null && !this.reading.isUndecided(lesion)) this.nextUndecided();
  }

  async retype() {
    const lesion = this.target();
    if (!lesion || this.isSettled(lesion)) return;
    const kinds = this.reading.info.kinds.filter(({ id }) => id !== lesion.kind);
    const to = await choose(TEXTS.types.title, kinds.map(({ id, title }) => ({ value: id, text: title })), TEXTS.types.cancel);
    if (to) this.edits.do([{ op: "retype", kind: lesion.kind, lesion: lesion.number, to }]);
  }

  // --- voxels

  /** @param {string} kind @param {number} number */
  isRejected(kind, number) {
    return this.reading.lesion(kind, number)?.decision === "reject";
  }

  /** Label that a drawing on these voxels gets, or null if it may not be drawn. @param {string} kind @param {number[]} voxels */
  labelFor(kind, voxels) {
    const labels = this.reading.labels.get(kind);
    const present = voxels.filter((at) => labels[at] !== 0);
    const extended = mainLabel(labels, present.filter((at) => !this.isRejected(kind, labels[at])));
    if (extended) return extended;
    if (present.length > voxels.length / 2) { toast(TEXTS.messages.rejectedDraw); return null; }
    const label = this.reading.newLabel(kind);
    if (!label) toast(TEXTS.messages.labelsFull);
    return label || null;
  }

  /** @param {string} kind @param {import("./reading.js").Run[]} runs @param {number} label that is selected then, or 0 @param {any[]} more operations of the same step */
  change(kind, runs, label, more = []) {
    if (!runs.length || !this.mayEdit()) return;
    if (!this.reading.fits(kind, runs)) { toast(TEXTS.messages.stale); return; }
    this.viewer.overlay.hidden.delete(kind);
    this.edits.do([{ op: "voxels", kind, runs }, ...more]);
    if (label) this.select(this.reading.lesion(kind, label), false);
  }

  /** Run a request of a tool and show what went wrong. @param {() => Promise<void>} work */
  async ask(work) {
    try {
      if (this.sync.offline) throw Object.assign(new Error(), { temporary: true });
      await work();
    } catch (error) {
      if (!("temporary" in error)) throw error;
      toast(error.temporary ? TEXTS.messages.toolOffline : error.message);
    }
  }

  async split() {
    const lesion = this.target();
    if (!lesion) return;
    await this.ask(async () => {
      await this.sync.drained();
      const { runs } = await this.api.post("tools/split", { kind: lesion.kind, lesion: lesion.number });
      if (!runs.length) toast(TEXTS.messages.noSplit);
      else this.change(lesion.kind, runs, lesion.number);
    });
  }

  delete() {
    const lesion = this.target();
    if (!lesion) return;
    if (lesion.proposed) { toast(TEXTS.messages.deleteProposed); this.decide("reject"); return; }
    const voxels = new Map(this.reading.voxelsOf(lesion).map((at) => [at, lesion.number]));
    this.change(lesion.kind, runsOf(voxels, 0, this.grid.shape[0]), 0);
  }

  undo() {
    if (!this.mayEdit()) return;
    const done = this.edits.undo();
    if (done !== "done") toast(done === "waits" ? TEXTS.messages.waits : TEXTS.messages.nothingToUndo);
    this.dispatchEvent(new Event("settings"));
  }

  redo() {
    if (!this.mayEdit()) return;
    if (this.edits.redo() !== "done") toast(TEXTS.messages.nothingToRedo);
    this.dispatchEvent(new Event("settings"));
  }

  // --- keyboard

  /** Use the tool at the crosshair. @param {boolean} shift */
  enter(shift) {
    if (!this.mayUse(this.tool)) return;
    const { viewer } = this;
    const [i, j] = this.grid.toPixel(viewer.plane, viewer.view.position);
    this.tool.enter({ pixel: [i + 0.5, j + 0.5], voxel: [...viewer.view.position], pane: viewer.active, shift, client: [0, 0] });
  }

  /** Move the crosshair within the slice. @param {number} right @param {number} down in pixels */
  moveCrosshair(right, down) {
    const { viewer } = this;
    const [i, j] = this.grid.toPixel(viewer.plane, viewer.view.position);
    viewer.view.crosshair = true;
    viewer.goTo(this.grid.toVoxel(viewer.plane, i + right, j + down, viewer.slice));
  }
}
