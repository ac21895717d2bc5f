/** One tab writes. The others are read-only until they take over or the writer is gone. */

const BEAT_MS = 20000;

/** Random id of this tab. It survives a reload, but a duplicated or new tab gets its own. */
export function clientId() {
  const [navigation] = /** @type {any[]} */ (performance.getEntriesByType("navigation"));
  const kept = navigation?.type === "reload" ? sessionStorage.getItem("client") : null;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const id = kept ?? Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem("client", id);
  return id;
}

export class Lease extends EventTarget {
  /** @param {import("./api.js").Api} api */
  constructor(api) {
    super();
    this.api = api;
    this.held = false;
    this.known = false;
    this.timer = 0;
  }

  /** Ask for the lease and keep it. @param {boolean} takeOver */
  async ask(takeOver = false) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), BEAT_MS);
    try {
      const { held } = await this.api.post("lease", { client: this.api.client, take_over: takeOver });
      this.set(held);
    } catch (error) {
      if (error.status === 401) this.dispatchEvent(new Event("loggedout"));
      // without a connection the tab goes on with what it had; the server decides when the edits arrive
    }
  }

  /** @param {boolean} held */
  set(held) {
    if (this.known && held === this.held) return;
    this.known = true;
    this.held = held;
    this.dispatchEvent(new Event("change"));
  }

  stop() {
    clearTimeout(this.timer);
  }
}
