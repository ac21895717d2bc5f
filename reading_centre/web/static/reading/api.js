/** Requests of the reading page. */

/** An answer other than 2xx, or none (status 0). */
export class ApiError extends Error {
  /** @param {number} status @param {string} detail @param {any} body */
  constructor(status, detail, body) {
    super(detail);
    this.status = status;
    this.body = body;
  }

  /** True if the same request may succeed later. */
  get temporary() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export class Api {
  /** @param {string} assignment @param {string} client random id of this tab */
  constructor(assignment, client) {
    this.base = `/api/reading/${encodeURIComponent(assignment)}/`;
    this.client = client;
  }

  /** @param {string} path @param {RequestInit} options @returns {Promise<Response>} */
  async request(path, options = {}) {
    let response;
    try {
      response = await fetch(this.base + path, options);
    } catch {
      throw new ApiError(0, "The server does not answer.", null);
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => null);
    const detail = typeof body?.detail === "string" ? body.detail : body?.detail?.detail ?? `The server answered ${response.status}.`;
    throw new ApiError(response.status, detail, body);
  }

  /** @param {string} path */
  async get(path) {
    return (await this.request(path)).json();
  }

  /** @param {string} path @returns {Promise<Uint16Array>} */
  async voxels(path) {
    return new Uint16Array(await (await this.request(path)).arrayBuffer());
  }

  /** A label map. @param {string} path @param {number} size in voxels @returns {Promise<Uint16Array>} */
  async labels(path, size) {
    const labels = new Uint16Array(size);
    for (const [start, length, , label] of (await this.get(path)).runs) labels.fill(label, start, start + length);
    return labels;
  }

  /** @param {string} path @param {any} body */
  async post(path, body) {
    const headers = { "Content-Type": "application/json", "X-Client": this.client };
    return (await this.request(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
  }
}

/** Leave for the login page; what is not sent stays in the browser. */
export function toLogin() {
  location.assign("/login");
}
