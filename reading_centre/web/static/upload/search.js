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
/** Characters of a value with digits that is searched in any grouping ("123 456 789"). */
const GROUPED = { least: 6, most: 64 };
/** Digits of a number that is searched within a part of a UID. */
const SHORTEST_IN_UID = 8;
/** Of a name with more words, the first ones are paired. */
const MOST_WORDS = 8;
const IDEOGRAPH = /[\p{sc=Han}\p{sc=Hangul}\p{sc=Hiragana}\p{sc=Katakana}]/u;
const WORD = "[\\p{L}\\p{N}]";
const GAP = "[^\\p{L}\\p{N}]*";
/** Of the Gregorian, the Persian, the Islamic and the Buddhist calendar. */
const DATE = /^(1[389]|14|20|25)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$/;
/** Beginnings of the names of the months in European languages, without accents. */
const MONTHS = [
  "JAN|GEN|ENE|IAN|STY|LED|TAM|OCA|ЯНВ|СІЧ|ΙΑΝ", "FEB|FEV|LUT|UNO|HEL|SUB|VEE|ФЕВ|ЛЮТ|ΦΕΒ", "MAR|MRT|MAA|MRZ|BRE|МАР|БЕР|ΜΑΡ",
  "APR|AVR|ABR|KWI|DUB|HUH|NIS|АПР|КВІ|ΑΠΡ", "MAY|MAI|MAG|MEI|MAJ|KVE|TOU|МАИ|МАЯ|ТРА|ΜΑΙ", "JUN|JUIN|GIU|IUN|CZE|CER|KES|HAZ|JUU|ИЮН|ЧЕР|ΙΟΥΝ",
  "JUL|JUIL|LUG|IUL|LIP|CER|CVC|HEI|TEM|JUU|ИЮЛ|ЛИП|ΙΟΥΛ", "AUG|AGO|AOU|SIE|SRP|ELO|AVG|АВГ|СЕР|ΑΥΓ", "SEP|SET|WRZ|ZAR|SYY|EYL|СЕН|ВЕР|ΣΕΠ",
  "OCT|OKT|OTT|OUT|PAZ|RIJ|LOK|EKI|ОКТ|ЖОВ|ΟΚΤ", "NOV|NOI|LIS|MARR|KAS|НОЯ|НОЕ|ЛИС|ΝΟΕ", "DEC|DEZ|DIC|DES|DET|GRU|PRO|JOU|ARA|ДЕК|ГРУ|ΔΕΚ",
];
const ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
const LATIN = new Map([
  ["Ø", "O"], ["Ł", "L"], ["Đ", "D"], ["Ð", "D"], ["Æ", "AE"], ["Œ", "OE"], ["Þ", "TH"], ["ẞ", "SS"], ["Ħ", "H"], ["Ŧ", "T"], ["Ŋ", "N"],
]);

/** Upper case without accents, and with one letter in place of two (MUELLER, HAAKANSEN, DJORDJEVIC). @param {string} text @returns {string[]} */
function spellings(text) {
  const letters = text.normalize("NFKC").toUpperCase().normalize("NFKD").replace(/\p{M}/gu, "");
  const plain = letters.replace(/[ØŁĐÐÆŒÞẞĦŦŊ]/g, (one) => LATIN.get(one) ?? one).normalize("NFC");
  return [...new Set([plain, plain.replace(/([AOU])E|(A)A|(D)J/g, "$1$2$3")])];
}

/** @param {string} text */
const lengthOf = (text) => [...text].reduce((sum, one) => sum + (IDEOGRAPH.test(one) ? 2 : 1), 0);
/** @param {string} text */
const glued = (text) => text.replace(/[^\p{L}\p{N}]+/gu, "");
/** @param {string} text @returns {string[]} */
const wordsIn = (text) => text.match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];

/**
 * A search for the identities of a file.
 * @typedef {{ inText: (text: string, within: number, ofPatient: boolean) => boolean, inNumber: (text: string, isUid: boolean, days: string[]) => boolean }} Search
 *   true if a text has an identity. within: letters of one that is part of a word; ofPatient: search for values of the patient alone;
 *   a number and a UID are searched for numbers and dates of the patient; a day of the scan (YYYYMMDD) is none in a UID
 * @param {{ tag: number, text: string }[]} values of its identifying elements
 * @param {{ placeholders: string[], common: string[] }} site common: words of DICOM, such as HEAD. They are no identity of an
 *   institution or physician, but they may be the patient's.
 * @returns {Search}
 */
export function searchOf(values, { placeholders, common }) {
  const isPatient = (/** @type {number} */ tag) => Math.floor(tag / 0x10000) === 0x0010 && tag !== COMMENTS;
  const identitiesOf = (/** @type {{ tag: number, text: string }[]} */ some) => {
    const spelt = some.flatMap(({ tag, text }) => formsOf(tag, text, isPatient(tag) ? SHORTEST : SHORTEST_PART).flatMap((parts) =>
      spellings(parts.join("^")).filter((one, at) => (at === 0 || lengthOf(glued(one)) >= SHORTEST_PART) &&
        (isPatient(tag) || !(common.includes(one.replaceAll("^", "")) || /^\d{1,4}$/.test(one))))));
    return [...new Set(spelt)].map((one) => new Identity(one.split("^"))).filter(({ text, letters }) =>
      letters && lengthOf(text) >= SHORTEST && !placeholders.includes(text));
  };
  const all = identitiesOf(values);
  const ofThePatient = identitiesOf(values.filter(({ tag }) => isPatient(tag)));
  const dates = [...new Set(all.map(({ letters }) => letters))].filter((one) => DATE.test(one)).map(datePattern);
  const numbers = new Set(ofThePatient.map(({ letters }) => letters).filter((one) => /^\d+$/.test(one) && one.length >= GROUPED.least));
  const long = [...numbers].filter((one) => one.length >= SHORTEST_IN_UID);
  return {
    inText: (text, within, ofPatient) => spellings(text).some((spelt) => {
      const letters = glued(spelt);
      return dates.some((date) => date.test(spelt)) || (ofPatient ? ofThePatient : all).some((one) =>
        letters.includes(one.letters) && one.isIn(spelt, within, common));
    }),
    inNumber: (text, isUid, days) => text.split(isUid ? "." : "\\").some((part) =>
      (numbers.has(part.trim()) && !days.includes(part)) ||
      (isUid && long.some((one) => !days.includes(one) && part.includes(one)))),
  };
}

/** A value or a part of it, in upper case. Between its parts may be anything but letters and digits, or nothing. */
class Identity {
  /** @param {string[]} parts */
  constructor(parts) {
    this.text = parts.join("");
    this.letters = glued(this.text);
    this.isNumber = /^\d+$/.test(this.letters);
    this.length = lengthOf(this.letters);
    /** Two parts of a name, of which one is short, are no part of a word: "Ge^Ma" of "image". */
    this.isWhole = parts.length > 1 && parts.some((part) => lengthOf(part) < SHORTEST);
    const isMixed = /\d/.test(this.letters) && !(this.isNumber && this.length >= SHORTEST_NUMBER);
    const beside = isMixed ? WORD : this.isNumber ? "\\d" : "\\p{L}";
    const hasInitial = !/\d/.test(this.letters) && parts.length > 1 && lengthOf(parts[parts.length - 1]) === 1; // "Tim E", not "time"
    const words = parts.map((part) => part.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join(hasInitial ? `${GAP.slice(0, -1)}+` : GAP);
    this.pattern = [...this.letters].every((one) => IDEOGRAPH.test(one)) ? words : `(?<!${beside})${words}(?!${beside})`;
  }

  /** @param {string} text @param {number} within @param {string[]} common */
  isIn(text, within, common) {
    if (new RegExp(this.pattern, "u").test(text)) return true;
    if (this.isNumber) return this.length > SHORTEST_NUMBER && text.includes(this.letters);
    return this.length >= within && !this.isWhole && wordsIn(text).some((word) => word.includes(this.letters) && !common.includes(word));
  }
}

/** A value as a whole, and what of it is searched, each as parts with gaps. @param {number} tag @param {string} text @param {number} shortest letters of a part */
function formsOf(tag, text, shortest) {
  const isLong = (/** @type {string[]} */ parts) => lengthOf(parts.join("")) >= shortest;
  return text.split(/[\\=]/).flatMap((value) => {
    const whole = value.trim().split("^").filter(Boolean);
    if (NAMES.has(tag)) return [whole, ...nameForms(value).filter(isLong)];
    const parts = value.split(/[\^,;\s/_|]+/).map(wordsIn).filter(isLong);
    return [whole, ...[wordsIn(value), ...parts].flatMap(numberForms)];
  });
}

/** Words, components, and each two parts of different components in any order: a part of two letters is none alone. @param {string} name */
function nameForms(name) {
  const components = name.split("^").map(wordsIn).filter((words) => words.length);
  const several = components.length > 1 ? components : (components[0] ?? []).map((word) => [word]);
  const parts = several.slice(0, MOST_WORDS).map((words) => [words, ...words.slice(0, MOST_WORDS).map((word) => [word])]);
  const pairs = parts.flatMap((some, at) => parts.flatMap((others, other) =>
    at === other ? [] : some.flatMap((one) => others.map((next) => [...one, ...next]))));
  const words = wordsIn(name).map((word) => [word]);
  return [...words, ...components, ...pairs].map((form) => form.flatMap((word) => (IDEOGRAPH.test(word) ? [...word] : [word])));
}

/** Words of a value; with digits also in any grouping, without leading zeros, and its digits alone. @param {string[]} words */
function numberForms(words) {
  const joined = words.join("");
  const forms = [words, [joined.replace(/^0+/, "")]];
  if (!/\d/.test(joined) || joined.length > GROUPED.most) return forms;
  const numbers = [joined, ...words].flatMap((one) => one.match(/\d+/g) ?? []);
  const grouped = [joined, ...numbers].flatMap((one) => [one, one.replace(/^0+/, "")]).filter((one) => one.length >= GROUPED.least);
  return [...forms, ...grouped.map((one) => [...one])];
}

/** A pattern that finds a date in any common notation, in upper case. @param {string} date YYYYMMDD */
function datePattern(date) {
  const [year, short, month, day] = [date.slice(0, 4), date.slice(2, 4), date.slice(4, 6), date.slice(6)];
  const [y, m, d] = [`(?:${year}|'?${short})`, `0?${Number(month)}`, `0?${Number(day)}`];
  const name = `(?:${MONTHS[Number(month) - 1]})\\p{L}{0,12}`;
  const [some, gap] = ["[^\\p{L}\\p{N}]{0,5}", "(?:[^\\p{L}\\p{N}]{1,5}|\\s?[年月년월]\\s?)"];
  const [th, of] = ["(?:ST|ND|RD|TH)?", `(?:\\p{L}{1,3}${gap})?`]; // of, de, del
  const forms = [
    ...[year, short].flatMap((one) => [`${one}${month}${day}`, `${day}${month}${one}`, `${month}${day}${one}`]), `${year}${day}${month}`,
    `${y}${gap}${m}${gap}${d}`, `${year}${gap}${d}${gap}${m}`, `${d}${gap}${m}${gap}${y}`, `${m}${gap}${d}${gap}${y}`,
    `${d}${th}${some}${of}(?:${name}|${ROMAN[Number(month) - 1]})${some}${of}${y}`,
    `${name}${some}${d}${th}${gap}${y}`, `${year}${some}${name}${some}${d}`,
  ];
  return new RegExp(`(?<!\\d)(?:${forms.join("|")})(?!\\d)`, "u");
}
