/** Pseudonyms of a patient, and the search for identities. The patient's data do not leave the browser. */

import { searchOf } from "./search.js";

const HASH_CHARACTERS = 16;

/** A text without what consoles add: spaces, carets of empty parts, and other spellings of a name. */
function plain(text, placeholders) {
  const found = text.split("=")[0].replace(/[\s^,]+/g, "").normalize("NFC").toUpperCase().normalize("NFC");
  return placeholders.includes(found) ? "" : found;
}

/**
 * @typedef {{ number: string, name: string, birth: string }} Person
 * @typedef {{ pseudonyms: (person: Person) => Promise<{ number: string, name: string }>,
 *   search: (values: { tag: number, text: string }[]) => import("./search.js").Search }} Identity
 */

/**
 * @param {{ key: string } & import("./search.js").Words} site
 * @returns {Promise<Identity>}
 */
export async function identityOf(site) {
  const bytes = Uint8Array.from(site.key.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const hmac = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const hash = async (kind, text) => {
    const known = plain(text, site.placeholders);
    if (!known) return "";
    const signed = new Uint8Array(await crypto.subtle.sign("HMAC", hmac, new TextEncoder().encode(`${kind}|${known}`)));
    return [...signed].map((byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, HASH_CHARACTERS);
  };
  let latest = { key: "", search: searchOf([], site) }; // all files of a visit have the same identities
  return {
    async pseudonyms({ number, name, birth }) {
      const id = await hash("number", number);
      return { number: `PSN-${id}`, name: `PSN-${await hash("name", name)}^${await hash("birth", birth)}` };
    },
    search(values) {
      const key = JSON.stringify(values);
      if (latest.key !== key) latest = { key, search: searchOf(values, site) };
      return latest.search;
    },
  };
}
