/**
 * The read in memory: label maps and lesions, as the server has them plus what still waits.
 *
 * @typedef {[number, number, number, number]} Run start, length, old label, new label
 * @typedef {{kind: string, number: number, proposed: boolean, volume_mm3: number, voxels: number,
 *   centre: import("./geometry.js").Triple, box: [number[], number[]], probability: number|null, location: string,
 *   decision: string|null, reason: string, proposed_change: string|null, change: string|null, settled: boolean,
 *   seen_by: string[], choice: string|null}} Lesion settled: two reads outline it in the same way, nothing is to decide
 */

export const LARGEST_LABEL = 65535;

/** @param {string} kind @param {number} number */
export function keyOf(kind, number) {
  return `${kind}:${number}`;
}

export class Reading extends EventTarget {
  /** @param {any} info the case @param {import("./geometry.js").Grid} grid @param {Map<string, Uint16Array>} labels by kind */
  constructor(info, grid, labels) {
    super();
    this.grid = grid;
    this.version = 0;
    /** @type {Map<string, Map<string, Uint16Array>>} outlines of two reads by name and kind, for an adjudication */
    this.reads = new Map();
    /** @type {Map<string, Uint16Array>} confirmed lesions of the previous visit by kind */
    this.previous = new Map();
    this.load(info, labels);
  }

  /** Take what the server has. @param {any} info @param {Map<string, Uint16Array>} labels */
  load(info, labels) {
    this.info = info;
    this.labels = labels;
    /** @type {Map<string, Lesion>} */
    this.lesions = new Map();
    /** @type {Record<string, number>} highest number of each kind so far: every label has a lesion */
    this.highest = {};
    this.counts = info.counts;
    for (const { id } of info.kinds) this.highest[id] = 0;
    for (const lesion of info.lesions) this.put(lesion);
    this.changed();
  }

  /** @param {Lesion} lesion */
  put(lesion) {
    this.lesions.set(keyOf(lesion.kind, lesion.number), lesion);
    this.highest[lesion.kind] = Math.max(this.highest[lesion.kind] ?? 0, lesion.number);
  }

  changed(keys = null) {
    this.version += 1;
    this.dispatchEvent(new CustomEvent("change", { detail: keys }));
  }

  /** @param {string} kind @param {number} number */
  lesion(kind, number) {
    return this.lesions.get(keyOf(kind, number)) ?? null;
  }

  /** Lesions with voxels, and rejected or decided ones without. @returns {Lesion[]} */
  listed() {
    return [...this.lesions.values()].filter((lesion) => lesion.voxels > 0 || lesion.proposed);
  }

  /** True also for a proposed lesion that was erased: it is rejected with a reason. @param {Lesion} lesion */
  isUndecided(lesion) {
    if (!lesion.proposed || lesion.settled) return false;
    const changeOpen = this.info.changes_asked && lesion.voxels > 0 && lesion.proposed_change !== null && lesion.change === null;
    return lesion.decision === null || (lesion.decision === "accept" && changeOpen);
  }

  /** @param {string} kind @param {import("./geometry.js").Triple} voxel */
  labelAt(kind, voxel) {
    return this.grid.contains(voxel) ? this.labels.get(kind)[this.grid.index(voxel)] : 0;
  }

  /** Label for a new lesion, or 0 if all are in use. @param {string} kind */
  newLabel(kind) {
    if (this.highest[kind] < LARGEST_LABEL) return this.highest[kind] + 1;
    const used = new Set(this.labels.get(kind));
    for (let label = LARGEST_LABEL; label > 0; label -= 1) if (!used.has(label) && !this.lesion(kind, label)) return label;
    return 0;
  }

  /** True if all runs begin from the present labels. @param {string} kind @param {Run[]} runs */
  fits(kind, runs) {
    const labels = this.labels.get(kind);
    return runs.every(([start, length, old]) => {
      for (let at = start; at < start + length; at += 1) if (labels[at] !== old) return false;
      return true;
    });
  }

  /** Set voxels. @param {string} kind @param {Run[]} runs @returns {Set<string>} lesions that changed */
  apply(kind, runs) {
    const labels = this.labels.get(kind);
    const keys = new Set();
    for (const [start, length, old, label] of runs) {
      labels.fill(label, start, start + length);
      if (old) keys.add(this.count(kind, old, start, -length));
      if (label) keys.add(this.count(kind, label, start, length));
    }
    return keys;
  }

  count(kind, number, start, voxels) {
    const key = keyOf(kind, number);
    const first = this.grid.voxel(start);
    let lesion = this.lesions.get(key);
    if (!lesion) {
      lesion = { kind, number, proposed: false, volume_mm3: 0, voxels: 0, centre: first, box: [[...first], first.map((c) => c + 1)],
        probability: null, location: "", decision: null, reason: "", proposed_change: null, change: null,
        settled: false, seen_by: [], choice: null };
      this.put(lesion);
    }
    const next = { ...lesion, voxels: lesion.voxels + voxels, volume_mm3: lesion.volume_mm3 + voxels * this.grid.voxelMm3 };
    if (voxels > 0) next.box = this.extended(lesion.box, start, voxels);
    this.lesions.set(key, next);
    return key;
  }

  extended([low, high], start, length) {
    const ends = [this.grid.voxel(start), this.grid.voxel(start + length - 1)];
    if (ends[0][1] !== ends[1][1] || ends[0][2] !== ends[1][2]) { ends[0][0] = 0; ends[1][0] = this.grid.shape[0] - 1; }
    if (ends[0][2] !== ends[1][2]) { ends[0][1] = 0; ends[1][1] = this.grid.shape[1] - 1; }
    return [low.map((c, axis) => Math.min(c, ends[0][axis])), high.map((c, axis) => Math.max(c, ends[1][axis] + 1))];
  }

  /** True if another lesion of its kind is in the box of an erased one. @param {Lesion} lesion */
  anyIn(lesion) {
    const [low, high] = lesion.box;
    for (let z = low[2]; z < high[2]; z += 1) {
      for (let y = low[1]; y < high[1]; y += 1) {
        for (let x = low[0]; x < high[0]; x += 1) if (this.labelAt(lesion.kind, [x, y, z])) return true;
      }
    }
    return false;
  }

  /** Indices of the voxels of a lesion, in order. @param {Lesion} lesion @returns {number[]} */
  voxelsOf({ kind, number, box: [low, high] }) {
    const labels = this.labels.get(kind);
    const found = [];
    for (let z = low[2]; z < high[2]; z += 1) {
      for (let y = low[1]; y < high[1]; y += 1) {
        let at = this.grid.index([low[0], y, z]);
        for (let x = low[0]; x < high[0]; x += 1, at += 1) if (labels[at] === number) found.push(at);
      }
    }
    return found;
  }

  /**
   * Runs that give a lesion the outline of some reads.
   * @param {Lesion} lesion @param {string[]} names @returns {{runs: Run[], voxels: number}} with the size of the outline
   */
  outlineOf({ kind, number }, names) {
    const labels = this.labels.get(kind);
    const maps = names.map((name) => this.reads.get(name).get(kind));
    /** @type {Run[]} */
    const runs = [];
    let voxels = 0;
    for (let at = 0; at < labels.length; at += 1) {
      const wanted = maps.some((map) => map[at] === number);
      if (wanted) voxels += 1;
      const label = wanted ? number : 0;
      if (labels[at] === label || (!wanted && labels[at] !== number)) continue;
      const last = runs[runs.length - 1];
      if (last && last[0] + last[1] === at && last[2] === labels[at] && last[3] === label) last[1] += 1;
      else runs.push([at, 1, labels[at], label]);
    }
    return { runs, voxels };
  }

  /** Do an operation. @param {any} op @returns {boolean} false if it does not fit the present marks */
  do(op) {
    let keys = new Set();
    if (op.op === "voxels") {
      if (!this.fits(op.kind, op.runs)) return false;
      keys = this.apply(op.kind, op.runs);
    } else {
      const kind = op.op === "change" ? "T2" : op.kind;
      const lesion = this.lesion(kind, op.lesion);
      if (!lesion) return false;
      if (op.op === "decide") this.put({ ...lesion, decision: op.decision, reason: op.reason });
      if (op.op === "change") this.put({ ...lesion, change: op.change });
      keys.add(keyOf(kind, op.lesion));
    }
    this.changed(keys);
    return true;
  }

  /**
   * Take the server's answer to an operation. What waiting operations touch is left to their own answers.
   * @param {any} answer @param {any[]} waiting
   */
  take(answer, waiting) {
    const touched = new Set(waiting.flatMap((op) => touchedBy(op)));
    const keys = new Set();
    for (const [kind, runs] of Object.entries(answer.runs ?? {})) {
      if (this.fits(kind, /** @type {Run[]} */ (runs))) this.apply(kind, /** @type {Run[]} */ (runs)).forEach((key) => keys.add(key));
    }
    for (const [kind, number] of answer.removed ?? []) {
      const key = keyOf(kind, number);
      if (!touched.has(key)) { this.lesions.delete(key); keys.add(key); }
    }
    for (const lesion of answer.lesions ?? []) {
      const key = keyOf(lesion.kind, lesion.number);
      if (!touched.has(key)) { this.put(lesion); keys.add(key); }
    }
    this.counts = answer.counts ?? this.counts;
    this.changed(keys);
  }
}

/** Keys of the lesions that an operation changes. @param {any} op @returns {string[]} */
export function touchedBy(op) {
  if (op.op === "voxels") return op.runs.flatMap(([, , old, label]) => [keyOf(op.kind, old), keyOf(op.kind, label)]);
  return [keyOf(op.op === "change" ? "T2" : op.kind, op.lesion)];
}
