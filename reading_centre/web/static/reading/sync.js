/**
 * Saving. Every operation gets its number, is stored in the browser and then posted in order; a lost connection only
 * delays it. The same operation may be sent twice: the server answers it twice with the same.
 *
 * Conflicts. If the server has other operations (409) or refuses one (422), the page loads the present marks, numbers
 * the waiting operations anew and does them again where their old values still hold. The others are set aside and
 * shown; none is dropped in silence.
 */

import { toLogin } from "./api.js";

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15000;
const MOST_CONFLICTS = 3; // in a row; more mean that two programs write at the same time

export class Sync extends EventTarget {
  /** @param {import("./api.js").Api} api @param {import("./journal.js").Journal|null} journal @param {string} assignment */
  constructor(api, journal, assignment) {
    super();
    this.api = api;
    this.journal = journal;
    this.assignment = assignment;
    /** @type {{number: number, op: any, stored: Promise<any>, reply: (answer: any) => void}[]} */
    this.pending = [];
    this.next = 1;
    this.held = false;
    this.offline = false;
    this.stopped = "";
    this.running = false;
    this.conflicts = 0;
    this.wake = () => {};
    addEventListener("online", () => this.wake());
  }

  /**
   * Take up what waited in the browser, on marks that were just loaded. Operations below the server's next number may be
   * in its log already; they are only sent again.
   * @param {number} next number that the server expects
   */
  async takeUp(next) {
    const waiting = this.journal ? await this.journal.waiting() : this.pending;
    const replies = new Map(this.pending.map(({ number, reply }) => [number, reply]));
    this.pending = waiting.map(({ number, op }) => ({ number, op, stored: Promise.resolve(), reply: replies.get(number) ?? (() => {}) }));
    this.next = Math.max(next, ...waiting.map(({ number }) => number + 1));
    for (const { number, op } of waiting) if (number >= next) this.redo(op);
  }

  /** True if all operations of the server can be this page's own. @param {number} next number that the server expects */
  ownsAllBefore(next) {
    return next >= (this.pending[0]?.number ?? this.next) && next <= this.next;
  }

  /** @param {boolean} held whether this tab may write */
  setHeld(held) {
    this.held = held;
    this.changed();
    if (held) this.run();
  }

  /**
   * Queue an operation.
   * @param {any} op @param {(answer: any) => void} reply called with the server's answer
   */
  enqueue(op, reply = () => {}) {
    const number = this.next;
    this.next += 1;
    const stored = this.journal?.add({ assignment: this.assignment, number, op }).catch(() => this.storeFailed());
    this.pending.push({ number, op, stored: Promise.resolve(stored), reply });
    this.changed();
    this.run();
  }

  storeFailed() {
    this.dispatchEvent(new Event("storefailed"));
  }

  changed() {
    this.dispatchEvent(new Event("state"));
  }

  /** @returns {Promise<void>} resolves when nothing waits */
  async drained() {
    while (this.pending.length) await new Promise((resolve) => { this.addEventListener("state", resolve, { once: true }); });
  }

  async run() {
    if (this.running) return;
    this.running = true;
    let delay = FIRST_DELAY_MS;
    while (this.pending.length && this.held && !this.stopped) {
      try {
        await this.sendFirst();
        delay = FIRST_DELAY_MS;
      } catch (error) {
        if (!("temporary" in error)) { this.running = false; throw error; }
        if (error.status === 401) { this.running = false; toLogin(); return; }
        if (!error.temporary) { this.stopped = error.message; break; }
        this.offline = true;
        this.changed();
        await new Promise((resolve) => { this.wake = () => resolve(undefined); setTimeout(resolve, delay); });
        delay = Math.min(delay * 2, LONGEST_DELAY_MS);
      }
    }
    this.running = false;
    this.changed();
  }

  async sendFirst() {
    const item = this.pending[0];
    await item.stored;
    let answer;
    try {
      answer = await this.api.post("operations", { number: item.number, ...item.op });
    } catch (error) {
      if (error.status === 409 && "next_number" in (error.body ?? {}) && this.conflicts < MOST_CONFLICTS) {
        this.conflicts += 1;
        return this.resync([]);
      }
      if (error.status === 422) return this.resync([{ assignment: this.assignment, op: item.op, detail: error.message }]);
      if (error.status === 423) {
        this.held = false;
        this.dispatchEvent(new Event("leaselost"));
        return undefined;
      }
      throw error;
    }
    this.offline = false;
    this.conflicts = 0;
    await this.journal?.remove(item.number);
    this.pending.shift();
    this.dispatchEvent(new CustomEvent("answer", { detail: answer }));
    item.reply(answer);
    this.changed();
    return undefined;
  }

  /**
   * Load the present marks and do the waiting operations again.
   * @param {any[]} refused operations that the server does not take; the first of the queue if any
   */
  async resync(refused) {
    const queue = this.pending.slice(refused.length);
    const next = await this.reload(false);
    this.pending = [];
    for (const item of queue) {
      if (this.redo(item.op)) this.pending.push({ ...item, number: next + this.pending.length });
      else refused.push({ assignment: this.assignment, op: item.op, detail: "" });
    }
    this.next = next + this.pending.length;
    const stored = this.pending.map(({ number, op }) => ({ assignment: this.assignment, number, op }));
    await this.journal?.replace(stored, refused);
    this.offline = false;
    this.dispatchEvent(new CustomEvent("moved", { detail: refused }));
    this.changed();
  }

  /**
   * Load case and labels; set by the page.
   * @param {boolean} keepHistory whether undo goes on if nothing was done elsewhere
   * @returns {Promise<number>} number of the next operation
   */
  async reload(keepHistory) {
    throw new Error(`set by the page: ${keepHistory}`);
  }

  /** Do an operation on the loaded marks; set by the page. @param {any} op @returns {boolean} false if it does not fit */
  redo(op) {
    throw new Error(`set by the page: ${op}`);
  }
}
