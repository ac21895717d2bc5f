/**
 * A page that shows the state of a job: its content is fetched again until the job has ended. These requests do not
 * prolong the session. When it ends, the page is loaded again: the login page follows.
 */

const EVERY_MS = 3000;
const HEADERS = { "X-Automatic": "yes" };

/** @param {Document} page */
const waits = (page) => page.querySelector('script[src="/static/wait.js"]') !== null;

/** @returns {Promise<boolean>} true if the job has not ended */
async function renew() {
  const response = await fetch(location.href, { headers: HEADERS, redirect: "manual" });
  if (response.type === "opaqueredirect" || response.status === 401) location.reload();
  if (!response.ok) return true; // a fault of the network or the server: the next request may be answered
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  const [shown, fetched] = [document, next].map((page) => page.querySelector("main"));
  if (shown && fetched && shown.innerHTML !== fetched.innerHTML) shown.replaceWith(fetched);
  return waits(next);
}

async function follow() {
  if (await renew().catch(() => true)) setTimeout(follow, EVERY_MS);
}

setTimeout(follow, EVERY_MS);
