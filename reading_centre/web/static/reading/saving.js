/** The corner: whether everything is saved, who writes, and edits that did not fit. */

import { byId, element, toast } from "./dom.js";
import { TEXTS } from "./texts.js";

const T = TEXTS.save;

export class Saving {
  /** @param {import("./desk.js").Desk} desk @param {import("./lease.js").Lease} lease @param {import("./journal.js").Journal|null} journal */
  constructor(desk, lease, journal) {
    Object.assign(this, { desk, lease, journal });
    this.node = byId("saving");
    this.text = element("span", { role: "status" });
    this.takeOver = element("button", { type: "button", text: T.takeOver, click: () => lease.ask(true) });
    this.refused = element("details", { class: "refused" });
    this.node.append(this.text, this.takeOver, this.refused);
    const { sync } = desk;
    sync.addEventListener("state", () => this.follow());
    sync.addEventListener("storefailed", () => toast(T.noStore));
    sync.addEventListener("moved", (event) => this.moved(event.detail));
    if (!journal) toast(T.noStore);
    this.follow();
    this.listRefused();
  }

  /** @returns {[string, string]} state and text */
  state() {
    const { sync, reading } = this.desk;
    const waiting = sync.pending.length;
    if (reading.info.signature) return ["signed", T.signed];
    if (reading.info.read_only) return ["closed", reading.info.read_only_reason ?? T.closed];
    if (sync.stopped) return ["stopped", T.stopped(sync.stopped)];
    if (!this.lease.known) return ["loading", TEXTS.loading];
    if (!this.lease.held) return ["readonly", waiting ? T.readOnlyWaiting(waiting) : T.readOnly];
    if (waiting && sync.offline) return ["offline", T.offline(waiting)];
    return waiting ? ["waiting", T.waiting(waiting)] : ["saved", T.saved];
  }

  follow() {
    const [state, text] = this.state();
    this.node.dataset.state = state;
    this.node.dataset.waiting = String(this.desk.sync.pending.length);
    if (this.text.textContent !== text) this.text.textContent = text;
    this.takeOver.hidden = state !== "readonly";
  }

  async moved(refused) {
    toast(refused.length ? T.refused(refused.length) : T.moved);
    await this.listRefused();
  }

  async listRefused() {
    const items = (await this.journal?.refused()) ?? [];
    this.refused.hidden = !items.length;
    this.refused.replaceChildren(element("summary", { text: `${T.refusedTitle}: ${items.length}` }), ...items.map((item) => this.refusedRow(item)));
  }

  refusedRow({ id, op, detail }) {
    const { desk } = this;
    const text = op.op === "voxels" ? T.refusedEntry(op.kind, op.runs.reduce((sum, run) => sum + run[1], 0)) : T.refusedDecision(op.kind ?? "T2", op.lesion);
    const place = op.op === "voxels" ? desk.grid.voxel(op.runs[0][0]) : desk.reading.lesion(op.kind ?? "T2", op.lesion)?.centre;
    return element("div", { title: detail }, element("span", { text }),
      element("button", { type: "button", text: T.refusedShow, disabled: !place, click: () => { desk.viewer.view.crosshair = true; desk.viewer.goTo(place); } }),
      element("button", { type: "button", class: "quiet", text: T.refusedDismiss, click: async () => { await this.journal.dismiss(id); await this.listRefused(); } }));
  }
}
