/**
 * Edits with undo and redo. An entry of the history holds operations and their inverses; both are posted like any
 * other operation, so the server's log only grows.
 *
 * @typedef {{forward: any[], inverse: any[]|null}} Entry inverse is null until the server has answered a change of type
 */

/** @param {any} op voxels, decide or change @returns {any} */
export function inverseOf(op) {
  if (op.op === "voxels") return { ...op, runs: op.runs.map(([start, length, old, label]) => [start, length, label, old]) };
  if (op.op === "change") return { ...op, change: op.old, old: op.change };
  return { ...op, ...op.old, old: { decision: op.decision, reason: op.reason } };
}

export class Edits {
  /** @param {import("./reading.js").Reading} reading @param {import("./sync.js").Sync} sync @param {import("./journal.js").Journal|null} journal */
  constructor(reading, sync, journal) {
    this.reading = reading;
    this.sync = sync;
    this.journal = journal;
    /** @type {Entry[]} */
    this.entries = [];
    this.at = 0;
  }

  /** Take up the history of an earlier page. */
  async restore() {
    const kept = await this.journal?.history(this.sync.next);
    if (!kept) return;
    ({ entries: this.entries, at: this.at } = kept);
    if (this.entries.slice(0, this.at).some((entry) => !entry.inverse)) this.reset(); // the answer went to the earlier page
  }

  /** Forget the history: the marks changed elsewhere. */
  reset() {
    this.entries = [];
    this.at = 0;
    this.journal?.forget();
  }

  /** Do operations as one step of the history. @param {any[]} ops */
  do(ops) {
    const inverse = ops.some((op) => op.op === "retype") ? null : ops.map(inverseOf).reverse();
    const entry = { forward: ops, inverse };
    this.entries.length = this.at;
    this.entries.push(entry);
    this.at += 1;
    this.send(entry, ops);
    this.journal?.remember(this.at - 1, entry, this.sync.next);
  }

  /** @param {Entry} entry @param {any[]} ops */
  send(entry, ops) {
    for (const op of ops) {
      const before = op.op === "retype" ? this.reading.lesion(op.kind, op.lesion) : null;
      this.reading.do(op);
      this.sync.enqueue(op, before ? (answer) => this.retyped(entry, op, before, answer) : undefined);
    }
  }

  /** The inverse of a change of type is known when the server has made the copy. */
  retyped(entry, op, before, answer) {
    const runs = (answer.runs?.[op.to] ?? []).map(([start, length, old, label]) => [start, length, label, old]);
    const after = answer.lesions.find((lesion) => lesion.kind === op.kind && lesion.number === op.lesion) ?? before;
    entry.inverse = [
      { op: "voxels", kind: op.to, runs },
      { op: "decide", kind: op.kind, lesion: op.lesion, decision: before.decision, reason: before.reason,
        old: { decision: after.decision, reason: after.reason } },
    ];
    const at = this.entries.indexOf(entry);
    if (at === this.at - 1) this.journal?.remember(at, entry, this.sync.next);
  }

  /** @returns {"done"|"nothing"|"waits"} */
  undo() {
    if (this.at === 0) return "nothing";
    const entry = this.entries[this.at - 1];
    if (!entry.inverse) return "waits";
    this.at -= 1;
    const { inverse } = entry;
    if (entry.forward.some((op) => op.op === "retype")) entry.inverse = null; // a new copy will have a new inverse
    this.send(entry, inverse);
    this.journal?.point(this.at, this.sync.next);
    return "done";
  }

  /** @returns {"done"|"nothing"|"waits"} */
  redo() {
    if (this.at === this.entries.length) return "nothing";
    const entry = this.entries[this.at];
    this.at += 1;
    this.send(entry, entry.forward);
    this.journal?.point(this.at, this.sync.next);
    return "done";
  }
}
