/** Search for identities in texts: as words, within words, and as dates in any notation (`mri_pipeline.intake.leaks`). */

import { COMMENTS, NAMES } from "./elements.js";

/** Letters of a value or of a part of the patient's name. A character of Chinese, Japanese or Korean counts as two. */
const SHORTEST = 3;
/** Letters of a part of any other value, such as an institution ("und", "MRT"). */
const SHORTEST_PART = 4;
/** Letters of an identity that is searched within a word; in code strings (ImageType) one more. */
export const SHORTEST_WITHIN = 4;
/** Digits of a number that is searched next to letters; with more, it is also searched within other numbers. */
const SHORTEST_NUMBER = 5;
const IDEOGRAPH = /[\p{sc=Han}\p{sc=Hangul}\p{sc=Hiragana}\p{sc=Katakana}]/u;
const WORD = "[\\p{L}\\p{N}]";
const DATE = /^(18|19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$/;
/** Beginnings of the names of the months in the languages of the trial's sites. */
const MONTHS = [
  "JAN|JÄN|GEN|ENE", "FEB|FÉV|FEV", "MAR|MÄR|MRT|MAA", "APR|AVR|ABR", "MAY|MAI|MAG|MEI|MAJ", "JUN|JUIN|GIU",
  "JUL|JUIL|LUG", "AUG|AGO|AOÛ|AOU", "SEP|SET", "OCT|OKT|OTT|OUT", "NOV", "DEC|DEZ|DIC|DÉC",
];
const GERMAN = new Map([["Ä", "AE"], ["Ö", "OE"], ["Ü", "UE"], ["Ø", "OE"], ["Å", "AA"], ["Æ", "AE"]]);
const LATIN = new Map([["Ø", "O"], ["Ł", "L"], ["Đ", "D"], ["Æ", "AE"]]);

/** Upper case as it is, with letters for accents, and without accents. @param {string} text @returns {string[]} */
function spellings(text) {
  const upper = text.normalize("NFKC").toUpperCase().normalize("NFKC");
  const replaced = (/** @type {Map<string, string>} */ letters) => [...upper].map((one) => letters.get(one) ?? one).join("");
  const plain = replaced(LATIN).normalize("NFKD").replace(/\p{M}/gu, "").normalize("NFC");
  return [...new Set([upper, replaced(GERMAN), plain])];
}

/** @param {string} text */
const lengthOf = (text) => [...text].reduce((sum, one) => sum + (IDEOGRAPH.test(one) ? 2 : 1), 0);

/**
 * A search for the identities of a file.
 * @param {{ tag: number, text: string }[]} values of its identifying elements
 * @param {{ placeholders: string[], common: string[] }} site common: words of DICOM, such as HEAD. They are no identity of an
 *   institution or physician, but they may be the patient's.
 * @returns {(text: string, within: number, ofPatient: boolean) => boolean} true if a text has one; within: letters of one that is
 *   part of a word; ofPatient: search for values of the patient alone
 */
export function searchOf(values, { placeholders, common }) {
  const isPatient = (/** @type {number} */ tag) => Math.floor(tag / 0x10000) === 0x0010 && tag !== COMMENTS;
  const identitiesOf = (/** @type {{ tag: number, text: string }[]} */ some) => new Set(some.flatMap(({ tag, text }) =>
    wordsOf(tag, text, isPatient(tag) ? SHORTEST : SHORTEST_PART).flatMap(spellings).filter((word) =>
      lengthOf(word) >= SHORTEST && !placeholders.includes(word) && (isPatient(tag) || !common.includes(word)))));
  const all = identitiesOf(values);
  const ofThePatient = identitiesOf(values.filter(({ tag }) => isPatient(tag)));
  const dates = [...all].filter((one) => DATE.test(one)).map(datePattern);
  return (text, within, ofPatient) => spellings(text).some((spelt) =>
    dates.some((date) => date.test(spelt)) ||
    [...(ofPatient ? ofThePatient : all)].some((one) => spelt.includes(one) && holds(spelt, one, within, common)));
}

/** A value as a whole, without spaces, points and leading zeros, and its parts. @param {number} tag @param {string} text @param {number} shortest letters of a part */
function wordsOf(tag, text, shortest) {
  const wholes = text.split(/[\\=]/).map((one) => one.trim());
  const joined = wholes.map((one) => one.replace(/[^\p{L}\p{M}\p{N}]+/gu, ""));
  const parts = text.split(NAMES.has(tag) ? /[^\p{L}\p{M}\p{N}]+/u : /[\^=,;\s\\/_|]+/);
  return [...wholes, ...joined, ...joined.map((one) => one.replace(/^0+/, "")), ...parts.filter((one) => lengthOf(one) >= shortest)];
}

/** @param {string} text @param {string} identity @param {number} within @param {string[]} common */
function holds(text, identity, within, common) {
  if (new RegExp(`(?<!${WORD})${escaped(identity)}(?!${WORD})`, "u").test(text)) return true;
  if (/^\d+$/.test(identity)) {
    return identity.length > SHORTEST_NUMBER || (identity.length === SHORTEST_NUMBER && new RegExp(`(?<!\\d)${identity}(?!\\d)`).test(text));
  }
  if (lengthOf(identity) < within) return false;
  return text.split(/[^\p{L}\p{M}\p{N}]+/u).some((word) => word.includes(identity) && !common.includes(word));
}

/** @param {string} text */
const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

/** A pattern that finds a date in any common notation, in upper case. @param {string} date YYYYMMDD */
function datePattern(date) {
  const [year, short, month, day] = [date.slice(0, 4), date.slice(2, 4), date.slice(4, 6), date.slice(6)];
  const [y, m, d] = [`(?:${year}|'?${short})`, `0?${Number(month)}`, `0?${Number(day)}`];
  const name = `(?:${MONTHS[Number(month) - 1]})\\p{L}*`;
  const [gap, some] = ["[\\s.,/_\\-]{1,3}", "[\\s.,/_\\-]{0,3}"];
  const forms = [
    ...[year, short].flatMap((one) => [`${one}${month}${day}`, `${day}${month}${one}`, `${month}${day}${one}`]),
    `${y}${gap}${m}${gap}${d}`, `${d}${gap}${m}${gap}${y}`, `${m}${gap}${d}${gap}${y}`,
    `${d}(?:ST|ND|RD|TH)?${some}(?:DE )?${name}${some}(?:DE )?${y}`, `${name}${some}${d}(?:ST|ND|RD|TH)?${gap}${y}`,
    `${year}${some}${name}${some}${d}`,
  ];
  return new RegExp(`(?<!\\d)(?:${forms.join("|")})(?!\\d)`, "u");
}
