/** Summary of the read and the signature. */

import { byId, element } from "./dom.js";
import { TEXTS } from "./texts.js";

const T = TEXTS.finish;

/**
 * Show the summary; sign if the reader does.
 * @param {import("./desk.js").Desk} desk @param {(signature: any) => Promise<void>} onSigned
 */
export async function finish(desk, onSigned) {
  const body = element("div", {}, element("p", { text: T.unsaved }));
  const dialog = element("dialog", { class: "finish", "aria-label": T.title }, element("h2", { text: T.title }), body);
  const close = element("button", { type: "button", class: "quiet", text: T.close, click: () => dialog.close() });
  dialog.append(close);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  byId("toast").hidden = true;  // what it says is of the time before
  dialog.showModal();
  try {
    await desk.sync.drained();
    const summary = await desk.api.get("summary");
    body.replaceChildren(...summaryNodes(desk, summary));
    const blocked = summary.undecided > 0 || summary.contradictions.length > 0;
    if (blocked) body.append(element("p", { class: "warning", text: T.blocked }));
    else if (desk.writable) {
      body.append(signForm(desk, summary, async (signature) => { dialog.close(); await onSigned(signature); }));
      body.querySelector(".sign input").focus();
    }
  } catch (error) {
    if (!("status" in error)) throw error;
    body.replaceChildren(element("p", { class: "warning", text: error.message }));
  }
}

function summaryNodes(desk, summary) {
  const counts = element("table", {}, element("tr", {}, ...[T.kind, T.lesions, T.volume].map((text) => element("th", { scope: "col", text }))));
  for (const { id, title } of desk.reading.info.kinds) {
    const { lesions = 0, volume_ml: volume = 0 } = summary.counts[id] ?? {};
    counts.append(element("tr", {}, element("th", { scope: "row", text: title }), element("td", { text: String(lesions) }), element("td", { text: volume.toFixed(2) })));
  }
  const list = (title, items, kind) => [element("h3", { text: title }), items.length
    ? element("ul", { class: kind }, ...items.map((text) => element("li", {}, ...withPlaces(desk, text)))) : element("p", { class: "fine", text: T.none })];
  const undecided = summary.undecided ? [element("p", { class: "warning", text: T.undecided(summary.undecided) })] : [];
  return [counts, ...undecided, ...list(T.contradictions, summary.contradictions, "warning"), ...list(T.questions, summary.questions, "question")];
}

/** A message whose voxels, counted from 1, are buttons that show the place. @param {import("./desk.js").Desk} desk @param {string} text */
function withPlaces(desk, text) {
  const show = (event, voxel) => {
    event.target.closest("dialog").close();
    desk.viewer.goTo(voxel);
    desk.select(desk.lesionAt(voxel), false);
  };
  return text.split(/(voxel \d+, \d+, \d+)/).map((part, at) => {
    if (at % 2 === 0) return part;
    const voxel = part.match(/\d+/g).map((number) => Number(number) - 1);
    return element("button", { type: "button", class: "place", text: part, title: T.show, click: (event) => show(event, voxel) });
  });
}

function signForm(desk, summary, onSigned) {
  const { reader } = desk.reading.info;
  const login = element("input", { name: "login", autocomplete: "username", required: true });
  const askLogin = summary.ask_login ? [element("label", {}, T.login, login)] : [];
  const password = element("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const fault = element("p", { class: "warning", role: "alert" });
  const button = element("button", { type: "submit", class: "primary", text: T.sign });
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    fault.textContent = T.wait;
    try {
      await onSigned(await desk.api.post("sign", { login: login.value, password: password.value, seen: summary.seen }));
    } catch (error) {
      if (!("status" in error)) throw error;
      const listed = [...(error.body?.contradictions ?? [])];
      fault.textContent = [error.message, ...listed].join(" ");
      password.value = "";
      password.focus();
      button.disabled = false;
    }
  };
  return element("form", { class: "sign", submit }, element("p", { class: "meaning", text: summary.meaning }), element("p", { text: T.reader(reader) }),
    ...askLogin, element("label", {}, T.password, password), fault, button);
}

/** Show who signed, when and with which meaning. @param {any} signature */
export function showSignature(signature) {
  const bar = byId("signature");
  bar.hidden = !signature;
  if (signature) bar.textContent = T.signed(signature);
}
