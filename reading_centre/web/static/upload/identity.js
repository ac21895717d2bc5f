/** Pseudonyms of a patient, and the removal of the names from other texts. The patient's data do not leave the browser. */

const SHORTEST = 4;
const HASH_CHARACTERS = 16;

/** Letters and digits of one byte. */
const LETTER = "[A-Za-z0-9\\u00c0-\\u00ff]";

/** A text without what consoles add: spaces, carets of empty parts, and other spellings of a name. */
function plain(text, placeholders) {
  const found = text.split("=")[0].replace(/[\s^,]+/g, "").toUpperCase();
  return placeholders.includes(found) ? "" : found;
}

/** Words of a patient that are searched for: whole values, and parts of names. @param {import("./dicom.js").Person} person @param {string[]} common */
function wordsOf({ bytes }, common) {
  const parts = bytes.flatMap((text) => [text, ...text.split(/[\\^=,;\s/_|]+/)]);
  return [...new Set(parts)].filter((word) => word.length >= SHORTEST && !/^[-+.\d]{1,6}$/.test(word) && !common.includes(word.toUpperCase()));
}

/** The bytes of a value as a text of as many characters. @param {Uint8Array} value */
export function byteText(value) {
  return value.reduce((text, byte) => text + String.fromCharCode(byte), "");
}

/**
 * @param {{ key: string, placeholders: string[], common: string[] }} site
 * @returns {Promise<import("./dicom.js").Identity>}
 */
export async function identityOf({ key, placeholders, common }) {
  const bytes = Uint8Array.from(key.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const hmac = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const hash = async (kind, text) => {
    const known = plain(text, placeholders);
    if (!known) return "";
    const signed = new Uint8Array(await crypto.subtle.sign("HMAC", hmac, new TextEncoder().encode(`${kind}|${known}`)));
    return [...signed].map((byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, HASH_CHARACTERS);
  };
  return {
    async pseudonyms({ number, name, birth }) {
      const id = await hash("number", number);
      return { number: `PSN-${id}`, name: `PSN-${await hash("name", name)}^${await hash("birth", birth)}` };
    },
    masked(person) {
      const words = wordsOf(person, common).sort((a, b) => b.length - a.length);
      if (!words.length) return (value) => value;
      const escaped = words.map((word) => word.replace(/[^\w]/g, "\\$&"));
      const pattern = new RegExp(`(?<!${LETTER})(?:${escaped.join("|")})(?!${LETTER})`, "gi");
      return (value) => {
        const text = byteText(value);
        if (/^[\d.\\ +\-eE\0]*$/.test(text)) return value; // numbers
        const masked = text.replace(pattern, (found) => "X".repeat(found.length));
        return masked === text ? value : Uint8Array.from(masked, (letter) => letter.charCodeAt(0));
      };
    },
  };
}
