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
const [DEPARTMENT, PERSON_NAME] = [0x00081040, 0x0040a123];
/** Names and addresses of institutions. */
const PLACES = new Set([0x00080080, 0x00080081, 0x00080092, DEPARTMENT]);
/** Comments, address, telephone, telecom and issuer: of the patient, but neither name, number nor birth date. */
const BESIDE_PATIENT = new Set([COMMENTS, 0x00101040, 0x00102154, 0x00102155, 0x00100021]);
const ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
/**
 * The words of a search, in upper case (`mri_pipeline/data/identity_words.toml`).
 * @typedef {{ placeholders: string[], common: string[], device: string[], generic: string[], months: string[][], letters: Record<string, string> }} Words
 */

/** Upper case without accents, and with one letter in place of two (MUELLER, HAAKANSEN, DJORDJEVIC). @param {string} text @param {Words} words @returns {string[]} */
function spellings(text, words) {
  const letters = text.normalize("NFKC").toUpperCase().normalize("NFKD").replace(/\p{M}/gu, "");
  const plain = letters.replace(/\P{ASCII}/gu, (one) => words.letters[one] ?? one).normalize("NFC");
  return [...new Set([plain, plain.replace(/([AOU])E|(A)A|(D)J/g, "$1$2$3")])];
}

/** A text also with gaps before capitals: LiNaT1 as Li Na T1. @param {string} text @param {Words} words */
const versions = (text, words) => [text, text.replace(/(\p{Ll})(?=\p{Lu})/gu, "$1 ")].flatMap((one) => spellings(one, words));
/** @param {string} text */
const lengthOf = (text) => [...text].reduce((sum, one) => sum + (IDEOGRAPH.test(one) ? 2 : 1), 0);
/** @param {string} text */
const glued = (text) => text.replace(/[^\p{L}\p{N}]+/gu, "");
/** @param {string} text @returns {string[]} */
const wordsIn = (text) => text.match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];

/** What is searched in a text: `within`, letters of an identity that is part of a word; values of the patient alone; an element that names the device. @typedef {{ within: number, ofPatient: boolean, ofDevice: boolean }} Scope */

/**
 * A search for the identities of a file.
 * @typedef {{ inText: (text: string, scope: Scope) => boolean, inNumber: (text: string, isUid: boolean, days: string[]) => boolean }} Search
 *   true if a text has an identity; a number and a UID are searched for numbers and dates of the patient; a day of the scan
 *   (YYYYMMDD) is none in a UID
 * @param {{ tag: number, text: string }[]} values of its identifying elements
 * @param {Words} words
 * @returns {Search}
 */
export function searchOf(values, words) {
  const known = wordsOf(words);
  const isPatient = (/** @type {number} */ tag) => Math.floor(tag / 0x10000) === 0x0010 && !BESIDE_PATIENT.has(tag);
  const identitiesOf = (/** @type {{ tag: number, text: string }[]} */ some) => {
    const spelt = some.flatMap(({ tag, text }) => formsOf(tag, text, isPatient(tag) ? SHORTEST : SHORTEST_PART).flatMap((parts) =>
      spellings(parts.join("^"), words).filter((one, at) => (at === 0 || lengthOf(glued(one)) >= SHORTEST_PART) &&
        (isPatient(tag) || !isGeneric(one, spellings(text, words)[0], tag, known)))));
    return [...new Set(spelt)].map((one) => new Identity(one.split("^"), known)).filter(({ text, letters }) =>
      letters && lengthOf(text) >= SHORTEST && !words.placeholders.includes(text));
  };
  const all = identitiesOf(values);
  const ofThePatient = identitiesOf(values.filter(({ tag }) => isPatient(tag)));
  const dates = [...new Set(all.map(({ letters }) => letters))].filter((one) => DATE.test(one)).map((one) => datePattern(one, words.months, known.all));
  const numbers = new Set(ofThePatient.map(({ letters }) => letters).filter((one) => /^\d+$/.test(one) && one.length >= GROUPED.least));
  const long = [...numbers].filter((one) => one.length >= SHORTEST_IN_UID);
  return {
    inText: (text, { within, ofPatient, ofDevice }) => versions(text, words).some((spelt) => {
      const letters = glued(spelt);
      return dates.some((date) => date.test(spelt)) || (ofPatient ? ofThePatient : all).some((one) =>
        letters.includes(one.letters) && !(ofDevice && one.isDevice) && one.isIn(spelt, within));
    }),
    inNumber: (text, isUid, days) => text.split(isUid ? "." : "\\").map((part) => (isUid ? part : bare(part))).some((part) =>
      (numbers.has(part) && !days.includes(part)) ||
      (isUid && long.some((one) => !days.includes(one) && part.includes(one)))),
  };
}

/** A decimal number without sign, leading zeros and a fraction of zeros. @param {string} text */
const bare = (text) => text.trim().replace(/^\+?0*(?=\d)/, "").replace(/\.0*$/, "");

/** The words of lists, in each spelling. @typedef {{ common: Set<string>, generic: Set<string>, device: Set<string>, all: Set<string> }} Known @param {Words} words @returns {Known} */
function wordsOf(words) {
  const [common, device, generic] = [words.common, words.device, words.generic].map((some) => some.flatMap((one) => spellings(one, words)));
  return { common: new Set(common), generic: new Set([...common, ...generic]), device: new Set(device), all: new Set([...common, ...device, ...generic]) };
}

/**
 * True for a postcode, and for words of DICOM, hospitals and protocols, which identify nobody.
 * @param {string} form @param {string} value @param {number} tag @param {Known} known
 */
function isGeneric(form, value, tag, known) {
  if (/^\d{1,4}$/.test(form)) return tag !== COMMENTS;
  const allGeneric = (/** @type {string[]} */ words) => words.some((word) => known.generic.has(word) || (tag === DEPARTMENT && known.device.has(word))) &&
    words.every((word) => known.generic.has(word) || (tag === DEPARTMENT && known.device.has(word)) || /^\p{L}{1,2}$/u.test(word));
  const words = wordsIn(form);
  if (NAMES.has(tag)) return tag !== PERSON_NAME && words.length === 1 && allGeneric(words);
  if (BESIDE_PATIENT.has(tag) && tag !== COMMENTS) return false;
  if (PLACES.has(tag)) return (tag === DEPARTMENT || words.length === 1) && allGeneric(words); // Premier Imaging Center
  if (words.length === 1 && known.common.has(words[0])) return true;
  const all = wordsIn(value).filter((word) => !/\d/.test(word));
  const generic = all.filter((word) => known.generic.has(word));
  const least = tag === COMMENTS && generic.length < all.length ? 2 : 1; // not "Mr Post"
  return generic.length >= least && allGeneric(all) && allGeneric(words);
}

/** A value or a part of it, in upper case. Between its parts may be anything but letters and digits, or nothing. */
class Identity {
  /** @param {string[]} parts @param {Known} known */
  constructor(parts, known) {
    this.text = parts.join("");
    this.letters = glued(this.text);
    this.known = known.all;
    this.isDevice = wordsIn(parts.join(" ")).every((word) => known.device.has(word));
    this.isNumber = /^\d+$/.test(this.letters);
    this.length = lengthOf(this.letters);
    const isPair = parts.length > 1;
    this.hasInitial = isPair && parts.some((part) => lengthOf(part) === 1);
    /** Two parts of a name, of which one is short, are no part of a word: "Ge^Ma" of "image". */
    this.isWhole = isPair && parts.some((part) => lengthOf(part) < SHORTEST);
    const isMixed = /\d/.test(this.letters) && !(this.isNumber && this.length >= SHORTEST_NUMBER);
    const beside = isMixed ? WORD : this.isNumber ? "\\d" : "\\p{L}";
    const words = parts.map((part) => part.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join(GAP);
    this.pattern = [...this.letters].every((one) => IDEOGRAPH.test(one)) ? words : `(?<!${beside})${words}(?!${beside})`;
  }

  /** @param {string} text @param {number} within */
  isIn(text, within) {
    const found = [...text.matchAll(new RegExp(this.pattern, "gu"))];
    if (found.some(([one]) => !this.hasInitial || !this.known.has(one))) return true; // not "time" for Tim E
    if (this.isNumber) return this.length > SHORTEST_NUMBER && text.includes(this.letters);
    return this.length >= within && !this.isWhole && wordsIn(text).some((word) => word.includes(this.letters) && !this.known.has(word));
  }
}

/** A value as a whole, and what of it is searched, each as parts with gaps. @param {number} tag @param {string} text @param {number} shortest letters of a part */
function formsOf(tag, text, shortest) {
  const isLong = (/** @type {string[]} */ parts) => lengthOf(parts.join("")) >= shortest;
  return text.split(/[\\=]/).flatMap((value) => {
    const whole = value.trim().split("^").filter(Boolean);
    if (NAMES.has(tag)) return [whole, ...nameForms(value).filter(isLong)];
    const parts = value.split(/[\^,;\s/_|]+/).map(wordsIn).filter((words) => isLong(words) && !/^\d{1,3}$/.test(words.join("")));
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

/** A pattern that finds a date in any common notation, in upper case. @param {string} date YYYYMMDD @param {string[][]} months @param {Set<string>} known */
function datePattern(date, months, known) {
  const [year, short, month, day] = [date.slice(0, 4), date.slice(2, 4), date.slice(4, 6), date.slice(6)];
  const [y, m, d] = [`(?:${year}|'?${short})`, `0?${Number(month)}`, `0?${Number(day)}`];
  const begins = months[Number(month) - 1];
  const others = [...known].filter((word) => /^\p{L}+$/u.test(word) && begins.some((begin) => word.startsWith(begin)));
  const noOther = others.length ? `(?!(?:${others.join("|")})(?!\\p{L}))` : ""; // CERVICAL, SPACE, MAIN
  const name = `${noOther}(?:${begins.join("|")})\\p{L}{0,12}`;
  const [some, gap] = ["[^\\p{L}\\p{N}]{0,5}", "(?:[^\\p{L}\\p{N}]{1,5}|\\s?[年月년월]\\s?)"];
  const [th, of] = ["(?:ST|ND|RD|TH)?", `(?:\\p{L}{1,3}${gap})?`]; // of, de, del
  const forms = [
    ...[year, short].flatMap((one) => [`${one}${month}${day}`, `${day}${month}${one}`, `${month}${day}${one}`]), `${year}${day}${month}`,
    `${y}${gap}${m}${gap}${d}`, `${year}${gap}${d}${gap}${m}`, `${d}${gap}${m}${gap}${y}`, `${m}${gap}${d}${gap}${y}`,
    `${d}${th}${some}${of}(?:${name}|${ROMAN[Number(month) - 1]}(?!\\p{L}))${some}${of}${y}`,
    `${name}${some}${d}${th}${gap}${of}${y}`, `${name}${day}${y}`, `${y}${some}${of}${name}${some}${d}`,
  ];
  return new RegExp(`(?<!\\d)(?:${forms.join("|")})(?!\\d)`, "u");
}
