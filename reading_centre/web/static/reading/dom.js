/** Small helpers for elements. */

/**
 * Make an element. Attributes with a function are listeners, `text` is its text, true and false set and leave out.
 * @param {string} tag @param {Record<string, any>} attributes @param {...(Node|string)} children
 * @returns {any}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name === "text") node.textContent = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Element with a given id. @param {string} id @returns {any} */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`element ${id} expected in the page, none found`);
  return node;
}

/** Show a message for a while; screen readers read it. @param {string} text */
export function toast(text) {
  const box = byId("toast");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { box.hidden = true; }, 6000);
}
/** @type {any} */
toast.timer = 0;

/**
 * Ask for one of several answers; number keys choose.
 * @param {string} title @param {{value: string, text: string}[]} answers @param {string} cancel
 * @returns {Promise<string|null>}
 */
export function choose(title, answers, cancel) {
  return new Promise((resolve) => {
    const dialog = element("dialog", { class: "choice", "aria-label": title }, element("h2", { text: title }));
    const done = (value) => { dialog.close(); dialog.remove(); resolve(value); };
    answers.forEach(({ value, text }, at) => {
      dialog.append(element("button", { type: "button", click: () => done(value) }, element("kbd", { text: String(at + 1) }), ` ${text}`));
    });
    dialog.append(element("button", { type: "button", class: "quiet", click: () => done(null) }, element("kbd", { text: "Esc" }), ` ${cancel}`));
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); done(null); });
    dialog.addEventListener("keydown", (event) => {
      const answer = answers[Number(event.key) - 1];
      if (answer) { event.preventDefault(); event.stopPropagation(); done(answer.value); }
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
