/** The worklist: key C opens the next case; cases with unsent edits in this browser are marked. */

import { Journal } from "./reading/journal.js";
import { TEXTS } from "./reading/texts.js";

document.addEventListener("keydown", (event) => {
  const next = document.getElementById("next");
  if (event.key.toLowerCase() === "c" && !event.ctrlKey && !event.altKey && !event.metaKey && next) next.click();
});

for (const row of document.querySelectorAll("tr[data-assignment]")) {
  const journal = await Journal.open(row.dataset.assignment);
  const waiting = await journal.waiting();
  const note = row.querySelector(".waiting");
  note.hidden = waiting.length === 0;
  note.textContent = TEXTS.save.unsent(waiting.length);
}
