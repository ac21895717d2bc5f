/** Sending of an upload in parts, as in tus 1.0. After a lost connection it goes on where the server is. */

const PART_BYTES = 4 * 1024 * 1024;
const URL_OF_UPLOADS = "/api/site/uploads";
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;

/** A refusal by the server. */
export class RefusedError extends Error {}

/** @param {Response} response @returns {Promise<never>} */
async function refused(response) {
  if (response.status === 401) location.assign("/login");
  const body = await response.json().catch(() => null);
  throw new RefusedError(typeof body?.detail === "string" ? body.detail : `The server answered ${response.status}.`);
}

/** @param {Record<string, unknown>} statement @returns {Promise<string>} the code of the upload */
export async function begin(statement) {
  const response = await fetch(URL_OF_UPLOADS, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(statement),
  });
  if (!response.ok) await refused(response);
  return (await response.json()).upload;
}

/** @param {string} upload @returns {Promise<{ state: string, received: number, size: number, content: string }>} */
export async function stateOf(upload) {
  const response = await fetch(`${URL_OF_UPLOADS}/${upload}`);
  if (!response.ok) await refused(response);
  return response.json();
}

/** @param {ArrayBuffer} part */
async function checksum(part) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", part));
  return `sha256 ${btoa(String.fromCharCode(...digest))}`;
}

/**
 * Send the rest of an upload.
 * @param {string} upload @param {Blob} blob
 * @param {(received: number, interrupted: boolean) => void} report
 */
export async function send(upload, blob, report) {
  let wait = FIRST_WAIT_MS;
  /** @type {number | null} */
  let received = null;
  for (;;) {
    try {
      if (received === null) {
        const known = await stateOf(upload);
        if (known.state !== "receiving") return;
        received = known.received;
        report(received, false);
      }
      const part = await blob.slice(received, received + PART_BYTES).arrayBuffer();
      const response = await fetch(`${URL_OF_UPLOADS}/${upload}`, {
        method: "PATCH", body: part,
        headers: {
          "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(received),
          "Upload-Checksum": await checksum(part), "Tus-Resumable": "1.0.0",
        },
      });
      if (response.status === 204) {
        received = Number(response.headers.get("Upload-Offset"));
        wait = FIRST_WAIT_MS;
        report(received, false);
        if (received >= blob.size) return;
        continue;
      }
      if (![409, 423, 429, 460].includes(response.status) && response.status < 500) await refused(response);
    } catch (error) {
      if (error instanceof RefusedError || !(error instanceof TypeError)) throw error; // fetch throws a TypeError
    }
    report(received ?? 0, true);
    received = null;
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
}
