/**
 * A page that shows the state of a job: the state and the facts are fetched again until the job has ended. The rest of
 * the page stays, and with it the focus. These requests do not prolong the session. When that ends, the page is loaded
 * again: the login page follows.
 */

const EVERY_MS = 3000;
const PARTS = "main [role=status], main [data-renew]";
const HEADERS = { "X-Automatic": "yes" };

/** @param {Document} page */
const waits = (page) => page.querySelector('script[src$="/wait.js"]') !== null;

/** @returns {Promise<boolean>} true if the job has not ended */
async function renew() {
  const response = await fetch(location.href, { headers: HEADERS, redirect: "manual" });
  if (response.type === "opaqueredirect" || response.status === 401) location.reload();
  if (!response.ok) return true; // a fault of the network or the server: the next request may be answered
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  const [shown, fetched] = [document, next].map((page) => [...page.querySelectorAll(PARTS)]);
  shown.forEach((part, at) => {
    if (fetched[at] && part.innerHTML !== fetched[at].innerHTML) part.replaceChildren(...fetched[at].childNodes);
  });
  return waits(next);
}

async function follow() {
  if (await renew().catch(() => true)) setTimeout(follow, EVERY_MS);
}

setTimeout(follow, EVERY_MS);
