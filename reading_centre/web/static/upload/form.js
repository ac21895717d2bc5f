/** The form of a new upload, and of one that goes on. */

import { Chosen, filesOfDrop, filesOfList } from "./choose.js";
import { identityOf } from "./identity.js";
import { RefusedError, begin, send, stateOf } from "./send.js";
import { TEXTS } from "./texts.js";

const form = /** @type {HTMLFormElement} */ (document.getElementById("upload"));
const drop = /** @type {HTMLElement} */ (document.getElementById("drop"));
const chosenText = /** @type {HTMLElement} */ (document.getElementById("chosen"));
const listed = /** @type {HTMLElement} */ (document.getElementById("listed"));
const problem = /** @type {HTMLElement} */ (document.getElementById("problem"));
const progress = /** @type {HTMLElement} */ (document.getElementById("progress"));
const button = /** @type {HTMLButtonElement} */ (form.querySelector("button[type=submit]"));
const consent = /** @type {HTMLInputElement} */ (form.querySelector("input[name=whole]"));
const consentLabel = /** @type {HTMLElement} */ (consent.closest("label"));
/** Names of files that a reason lists; of more files, it lists the first one. */
const MOST_NAMES = 4;
let known = form.dataset.upload;
/** @type {Chosen | null} */
let chosen = null;
let sending = false;
let latest = {};

/** @param {string} text */
function say(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

/** @param {Promise<{ file: File, path: string }[]>} choice */
async function choose(choice) {
  if (sending) return;
  const own = latest = {};
  say("");
  chosen = null;
  button.disabled = true;
  askConsent(0);
  listed.replaceChildren();
  const report = (/** @type {number} */ done, /** @type {number} */ of) => { if (own === latest) chosenText.textContent = TEXTS.reading(done, of); };
  report(0, 0);
  const found = await readable(choice, report);
  if (own !== latest || sending) return; // other files were chosen meanwhile
  chosen = found?.canBeSent ? found : null;
  chosenText.textContent = chosen?.text ?? TEXTS.nothing;
  if (!chosen) say(TEXTS.empty);
  if (found) listed.replaceChildren(...listOf(TEXTS.notCleaned, found.notCleaned), ...listOf(TEXTS.left, found.left));
  askConsent(chosen?.whole ?? 0);
  button.disabled = !chosen;
}

/** @param {Promise<{ file: File, path: string }[]>} choice @param {(done: number, of: number) => void} report */
async function readable(choice, report) {
  try {
    return await Chosen.of(await choice, await identityOf(JSON.parse(form.dataset.identity ?? "")), report);
  } catch (error) {
    if (error instanceof DOMException) return null; // a file that was moved or may not be read
    throw error;
  }
}

/**
 * Files with their reasons. @param {(count: number) => string} title @param {import("./choose.js").Listed[]} files
 * @returns {HTMLElement[]} none without files
 */
function listOf(title, files) {
  if (!files.length) return [];
  const element = (/** @type {string} */ name, /** @type {(Node | string)[]} */ ...children) => {
    const made = document.createElement(name);
    made.append(...children);
    return made;
  };
  const lines = [...new Set(files.map(({ why }) => why))].map((why) => {
    const names = files.filter((one) => one.why === why).map(({ path }) => path);
    return element("li", `${why}: ${names.length > MOST_NAMES ? TEXTS.among(names.length, names[0]) : names.join(", ")}`);
  });
  const details = element("details", element("summary", title(files.length)), element("ul", ...lines));
  details.setAttribute("open", "");
  return [details];
}

/** @param {number} whole number of files that are sent as they are */
function askConsent(whole) {
  consentLabel.hidden = !whole;
  consent.required = whole > 0;
  consent.checked = false;
  const text = /** @type {HTMLElement} */ (consentLabel.querySelector("span"));
  text.textContent = whole ? TEXTS.whole(whole) : "";
}

function showFields() {
  const kind = form.querySelector("input[name=kind]:checked");
  const isVisit = kind instanceof HTMLInputElement && kind.value === "visit";
  const ofVisit = form.querySelector(".of-visit");
  if (!(ofVisit instanceof HTMLElement)) return;
  ofVisit.hidden = !isVisit;
  for (const field of ofVisit.querySelectorAll("input, select")) {
    /** @type {HTMLInputElement} */ (field).disabled = !isVisit;
  }
  const visit = form.querySelector("select[name=visit]");
  const asked = isVisit && visit instanceof HTMLSelectElement && visit.selectedOptions[0]?.dataset.infusion !== undefined;
  const infusion = /** @type {HTMLFieldSetElement} */ (document.getElementById("infusion"));
  infusion.hidden = !asked;
  for (const field of infusion.querySelectorAll("input")) {
    field.disabled = !asked;
    field.required = asked;
  }
}

/** @param {Chosen} files @returns {Promise<string>} */
async function codeOf(files) {
  if (known) {
    const state = await stateOf(known);
    if (state.state === "receiving" && (state.content !== files.content || state.size !== files.blob.size)) throw new RefusedError(TEXTS.other);
    return known;
  }
  const fields = new FormData(form);
  const text = (/** @type {string} */ name) => String(fields.get(name) ?? "");
  const infusion = text("before_infusion");
  known = await begin({
    kind: text("kind"), size: files.blob.size, content: files.content, subject: text("subject"), visit: text("visit"),
    before_infusion: infusion ? infusion === "yes" : null, replace_because: text("replace_because"),
    sent_whole: consent.checked,
  });
  return known;
}

/** @param {Chosen} files */
async function sendAll(files) {
  const bar = /** @type {HTMLProgressElement} */ (progress.querySelector("progress"));
  const sent = /** @type {HTMLElement} */ (document.getElementById("sent"));
  const upload = await codeOf(files);
  history.replaceState(null, "", `/site/uploads/${upload}`); // a reload goes on with this upload
  progress.hidden = false;
  await send(upload, files.blob, (received, interrupted) => {
    bar.value = received / files.blob.size;
    sent.textContent = TEXTS.progress(received, files.blob.size, interrupted);
  });
  location.assign(`/site/uploads/${upload}`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!chosen || sending) return;
  sending = button.disabled = true;
  say("");
  try {
    await sendAll(chosen);
  } catch (error) {
    say(error instanceof RefusedError ? error.message : TEXTS.gone);
    sending = button.disabled = false;
  }
});

for (const id of ["folder", "archive"]) {
  const input = /** @type {HTMLInputElement} */ (document.getElementById(id));
  input.addEventListener("change", () => input.files?.length && choose(Promise.resolve(filesOfList(input.files))));
}
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer) choose(filesOfDrop(event.dataTransfer.items));
});
form.addEventListener("change", showFields);
addEventListener("beforeunload", (event) => {
  if (sending && !progress.hidden && progress.querySelector("progress")?.value !== 1) event.preventDefault();
});

showFields();
if (!crypto.subtle) {
  say(TEXTS.insecure);
  for (const field of form.querySelectorAll("input, select, button")) /** @type {HTMLInputElement} */ (field).disabled = true;
}
