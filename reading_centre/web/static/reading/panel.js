/** The list of lesions, the selected lesion and its decisions. */

import { byId, element } from "./dom.js";
import { keyOf } from "./reading.js";
import { TEXTS } from "./texts.js";

const T = TEXTS.panel;
const SYMBOLS = { settled: "=", accept: "✓", reject: "✕", open: "?", drawn: "✎" };
const ORDERS = ["number", "slice", "volume", "probability"];

export class Panel {
  /** @param {import("./desk.js").Desk} desk */
  constructor(desk) {
    this.desk = desk;
    this.list = byId("lesions");
    this.card = byId("card");
    this.filter = "all";
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
    this.makeHead();
    this.makeColumns();
    this.makeCard();
    this.list.addEventListener("keydown", (event) => this.listKey(event));
    desk.reading.addEventListener("change", (event) => this.update(event.detail));
    desk.viewer.addEventListener("view", () => this.follow());
    desk.addEventListener("settings", () => this.follow());
    this.rebuild();
  }

  makeHead() {
    const likely = this.desk.reading.listed().some((lesion) => lesion.probability !== null);
    byId("panel").classList.toggle("without-probability", !likely);
    const order = element("select", { "aria-label": T.order, change: () => { this.desk.settings.order = order.value; this.rebuild(); } },
      ...ORDERS.filter((name) => likely || name !== "probability").map((name) => element("option", { value: name, text: T.orders[name] })));
    const show = element("select", { "aria-label": T.show, change: () => { this.filter = show.value; this.rebuild(); } },
      element("option", { value: "all", text: T.all }), element("option", { value: "open", text: T.open }),
      ...this.desk.reading.info.kinds.map(({ id, title }) => element("option", { value: id, text: title })));
    this.progress = element("progress", { max: 1, value: 0, "aria-label": T.state });
    this.left = element("span", { class: "undecided" });
    this.counts = element("div", { class: "counts" });
    byId("panel-head").append(this.counts, element("div", { class: "progress" }, this.progress, this.left),
      element("div", { class: "choices" }, element("label", {}, `${T.show} `, show), element("label", {}, `${T.order} `, order)));
  }

  makeColumns() {
    const titles = ["", T.number, T.volume, T.place, T.probability, ""];
    byId("columns").append(...titles.map((text) => element("span", { text })));
  }

  makeCounts() {
    const { desk } = this;
    this.counts.replaceChildren(...desk.reading.info.kinds.map(({ id, title }) => {
      const { lesions = 0, volume_ml: volume = 0 } = desk.reading.counts[id] ?? {};
      const box = element("input", { type: "checkbox", checked: !desk.viewer.overlay.hidden.has(id), change: () => {
        if (box.checked) desk.viewer.overlay.hidden.delete(id); else desk.viewer.overlay.hidden.add(id);
        desk.viewer.redraw({ marks: true });
      } });
      return element("label", { "data-kind": id, "data-count": lesions }, box, element("span", { class: `mark ${id}` }), ` ${title} `,
        element("b", { text: String(lesions) }), element("span", { class: "ml", text: TEXTS.ml(volume) }));
    }));
  }

  makeCard() {
    const { desk } = this;
    const button = (name, key, text, action) => element("button", { type: "button", "data-action": name, click: () => { action(); desk.viewer.node.focus(); } },
      text, element("kbd", { text: key }));
    this.title = element("h2");
    this.facts = element("p", { class: "facts" });
    const { adjudication } = desk.reading.info;
    const takes = [["take-A", "A", T.takeA, () => desk.take(["A"])], ["take-B", "B", T.takeB, () => desk.take(["B"])], ["take-both", "⇧A", T.takeBoth, () => desk.take(["A", "B"])]];
    this.differs = element("p", { class: "differs", text: adjudication ? T.differsIn(adjudication.differs_in) : "" });
    this.differs.hidden = !adjudication;
    this.decisions = element("div", { class: "decisions" },
      ...(adjudication ? takes.map((of) => button(...of)) : []), button("accept", adjudication ? "⇧E" : "A", adjudication ? T.asMarked : T.accept, () => desk.decide("accept")),
      button("reject", "R", T.reject, () => desk.decide("reject")), button("clear", "U", T.clear, () => desk.decide(null)));
    this.changes = element("div", { class: "changes", role: "group", "aria-label": T.change }, element("span", { text: T.change }),
      ...[["new", "W"], ["enlarging", "E"], ["none", "Q"]].map(([name, key]) => button(`change-${name}`, key, T.changes[name], () => desk.decideChange(name))));
    this.more = element("div", { class: "more" }, button("type", "T", T.type, () => desk.retype()), button("split", "S", T.split, () => desk.split()),
      button("delete", "Del", T.delete, () => desk.delete()));
    const advance = element("input", { type: "checkbox", checked: desk.settings.advance, change: () => {
      desk.settings.advance = advance.checked;
      localStorage.setItem("advance", advance.checked ? "yes" : "no");
    } });
    this.card.append(this.differs, this.title, this.facts, this.decisions, this.changes, this.more, element("label", { class: "advance" }, advance, ` ${T.advance}`));
  }

  stateOf(lesion) {
    if (lesion.settled) return "settled";
    if (lesion.decision === "reject") return "reject";
    if (!lesion.proposed) return "drawn";
    return this.desk.reading.isUndecided(lesion) ? "open" : lesion.decision ?? "open";
  }

  placeOf(lesion) {
    if (!lesion.voxels) return T.erased;
    return (T.places[lesion.location] ?? lesion.location) || (lesion.proposed ? "" : T.drawn);
  }

  /** Which of two reads have a lesion, and what was taken. */
  seenBy(lesion) {
    if (!this.desk.reading.info.adjudication || lesion.settled) return "";
    return [T.seenBy(lesion.seen_by), lesion.choice ? `→ ${T.choices[lesion.choice]}` : ""].filter(Boolean).join(" ");
  }

  fill(row, lesion) {
    const state = this.stateOf(lesion);
    const proposed = lesion.proposed_change && lesion.decision !== "reject" ? `${T.changes[lesion.proposed_change]}?` : "";
    const change = lesion.change ? T.changes[lesion.change] : proposed;
    const cells = [["mark", lesion.kind], ["number", ""], ["volume", ""], ["place", ""], ["probability", ""], ["state", state]].map(([name, extra]) =>
      element("span", { class: `${name} ${extra}` }));
    const texts = ["", String(lesion.number), String(Math.round(lesion.volume_mm3)), [this.seenBy(lesion), this.placeOf(lesion), change].filter(Boolean).join(" · "),
      lesion.probability === null ? "" : lesion.probability.toFixed(2), SYMBOLS[state]];
    cells.forEach((cell, at) => { cell.textContent = texts[at]; });
    row.replaceChildren(...cells);
    row.dataset.state = state;
    row.title = texts[3];
    row.setAttribute("aria-label", [TEXTS.kinds[lesion.kind], lesion.number, TEXTS.mm3(lesion.volume_mm3), texts[3], T.states[state]].join(" "));
    row.hidden = (this.filter === "open" && state !== "open") || (this.filter in TEXTS.kinds && this.filter !== lesion.kind);
  }

  rebuild() {
    this.rows.clear();
    for (const lesion of this.desk.ordered()) {
      const key = keyOf(lesion.kind, lesion.number);
      const row = element("li", { role: "option", id: `lesion-${lesion.kind}-${lesion.number}`, "data-lesion": key,
        click: () => this.desk.select(this.desk.reading.lesions.get(key)) });
      this.fill(row, lesion);
      this.rows.set(key, row);
    }
    this.list.replaceChildren(...this.rows.values());
    this.makeCounts();
    this.follow();
  }

  /** @param {Set<string>|null} keys lesions that changed, or null for all */
  update(keys) {
    const { reading } = this.desk;
    const known = (key) => { const lesion = reading.lesions.get(key); return this.rows.has(key) && lesion && (lesion.voxels > 0 || lesion.proposed); };
    if (!keys || ![...keys].every(known)) { this.rebuild(); return; }
    for (const key of keys) this.fill(this.rows.get(key), reading.lesions.get(key));
    this.makeCounts();
    this.follow();
  }

  /** Show the selected lesion and the progress. */
  follow() {
    const { desk } = this;
    const proposed = desk.reading.listed().filter((lesion) => lesion.proposed);
    const open = proposed.filter((lesion) => desk.reading.isUndecided(lesion)).length;
    this.progress.max = Math.max(proposed.length, 1);
    this.progress.value = proposed.length ? proposed.length - open : 1;
    this.left.textContent = T.undecided(open);
    const row = this.rows.get(desk.viewer.view.selected);
    if (this.current !== row) {
      this.current?.removeAttribute("aria-selected");
      row?.setAttribute("aria-selected", "true");
      row?.scrollIntoView({ block: "nearest" });
      this.list.setAttribute("aria-activedescendant", row?.id ?? "");
      this.current = row;
    }
    this.followCard(desk.selected);
  }

  followCard(lesion) {
    const { info } = this.desk.reading;
    this.title.textContent = lesion ? `${TEXTS.kinds[lesion.kind]} ${lesion.number}` : "";
    this.title.dataset.kind = lesion?.kind ?? "";
    const reason = lesion?.reason ? info.reasons.find(({ code }) => code === lesion.reason)?.text ?? lesion.reason : "";
    const facts = !lesion ? [T.none] : [this.seenBy(lesion), TEXTS.mm3(lesion.volume_mm3), this.placeOf(lesion),
      lesion.probability === null ? "" : T.probabilityOf(lesion.probability), T.states[this.stateOf(lesion)], reason];
    this.facts.textContent = [...new Set(facts.filter(Boolean))].join(" · ");
    for (const node of this.decisions.children) {
      node.disabled = !lesion || lesion.settled || !this.desk.writable;
      node.setAttribute("aria-pressed", String(Boolean(lesion) && this.isPressed(node.dataset.action, lesion)));
    }
    this.changes.hidden = !info.changes_asked;
    for (const name of ["new", "enlarging", "none"]) {
      const node = this.changes.querySelector(`[data-action=change-${name}]`);
      node.disabled = !lesion || lesion.kind !== "T2" || !this.desk.writable;
      node.setAttribute("aria-pressed", String(lesion?.change === name));
      node.classList.toggle("proposed", lesion?.proposed_change === name && lesion.change === null);
    }
    for (const node of this.more.children) node.disabled = !lesion || !this.desk.writable;
  }

  /** True if a button of the decisions shows the present one. @param {string} action @param {import("./reading.js").Lesion} lesion */
  isPressed(action, lesion) {
    if (action.startsWith("take-")) return lesion.choice === action.slice("take-".length);
    const taken = ["A", "B", "both"].includes(lesion.choice ?? "");
    return !taken && lesion.decision === { accept: "accept", reject: "reject", clear: null }[action];
  }

  /** Arrow keys in the list select. @param {KeyboardEvent} event */
  listKey(event) {
    const direction = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    event.stopPropagation();
    this.desk.nextLesion(direction);
  }
}
