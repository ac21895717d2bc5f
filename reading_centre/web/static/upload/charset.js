/** Texts of DICOM elements in their character set (PS3.3 C.12.1.1.2). */

import { UnreadError } from "./unread.js";

/** Labels of the decoders of the browser. */
const DECODERS = new Map([
  ["ISO_IR 101", "iso-8859-2"], ["ISO_IR 109", "iso-8859-3"], ["ISO_IR 110", "iso-8859-4"], ["ISO_IR 144", "iso-8859-5"],
  ["ISO_IR 127", "iso-8859-6"], ["ISO_IR 126", "iso-8859-7"], ["ISO_IR 138", "iso-8859-8"], ["ISO_IR 148", "iso-8859-9"],
  ["ISO_IR 203", "iso-8859-15"], ["ISO_IR 166", "windows-874"], ["ISO_IR 13", "shift_jis"], ["ISO_IR 87", "iso-2022-jp"],
  ["ISO_IR 149", "euc-kr"], ["ISO_IR 192", "utf-8"], ["GB18030", "gb18030"], ["GBK", "gbk"],
]);
const LATIN1 = ["", "ISO_IR 6", "ISO_IR 100"];
/** Escape sequence of Korean. The decoder knows its bytes without it. */
const KOREAN = /\x1b\$\)C/g;

/** The bytes of a value as characters of Latin-1. @param {Uint8Array} value */
export function latin1(value) {
  return value.reduce((text, byte) => text + String.fromCharCode(byte), "");
}

/** @param {string} label @param {Uint8Array} value */
function decoded(label, value) {
  try {
    return new TextDecoder(label, { fatal: true }).decode(value);
  } catch {
    throw new UnreadError("a text is not in its character set");
  }
}

/**
 * A decoder for the texts of a data set.
 * @param {Uint8Array} stated value of SpecificCharacterSet
 * @returns {(value: Uint8Array) => string} throws UnreadError for a text in another character set
 */
export function decoderOf(stated) {
  const terms = latin1(stated).split("\\").map((term) => term.replace(/[\0 ]+$/, "").trim().replace(/^ISO[ _-](2022[ _-])?IR[ _-]/, "ISO_IR "));
  const several = [...new Set(terms)].filter((term, _, all) => all.length === 1 || !["", "ISO_IR 6"].includes(term));
  const label = several.length === 1 ? DECODERS.get(several[0]) : undefined;
  if (!label && !several.every((term, at) => at === 0 && LATIN1.includes(term))) throw new UnreadError("a character set that is not read here");
  return (value) => {
    if (value.every((byte) => byte < 0x80 && byte !== 0x1b)) return latin1(value).replace(/[\0 ]+$/, "");
    const bytes = Uint8Array.from(latin1(value).replace(KOREAN, ""), (letter) => letter.charCodeAt(0));
    const text = label ? decoded(label, bytes) : latin1(bytes);
    if (text.includes("\x1b")) throw new UnreadError("a text is not in its character set");
    return text.replace(/[\0 ]+$/, "");
  };
}

/**
 * A text in its character set and, if it may be so, in UTF-8: some archives write it without stating it.
 * @param {Uint8Array} value @param {(value: Uint8Array) => string} decode
 */
export function readings(value, decode) {
  const text = decode(value);
  if (value.every((byte) => byte < 0x80)) return [text];
  try {
    return [text, decoded("utf-8", value)];
  } catch {
    return [text];
  }
}
