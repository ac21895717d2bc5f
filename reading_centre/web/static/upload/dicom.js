/**
 * Reader and filter of DICOM headers. It keeps what the reading centre reads, and nothing that names a person.
 * Pixel data are neither read nor changed: the new file is a new header before the old pixel data.
 */

import { byteText } from "./identity.js";

const PREAMBLE = 132;
const MAGIC = [...new TextEncoder().encode("DICM")];
const FIRST_BYTES = 128 * 1024;
const IMPLICIT = "1.2.840.10008.1.2";
const DEFLATED = "1.2.840.10008.1.2.1.99";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const DICOMDIR = "1.2.840.10008.1.3.10";
const UNDEFINED = 0xffffffff;
const ITEM = 0xfffee000;
const ITEM_END = 0xfffee00d;
const SEQUENCE_END = 0xfffee0dd;
const PADDING = 0xfffcfffc;
const PIXEL_DATA = 0x7fe00010;
const TRANSFER_SYNTAX = 0x00020010;
const SOP_CLASS = 0x00020002;
const PATIENT_NAME = 0x00100010;
const PATIENT_ID = 0x00100020;
const BIRTH_DATE = 0x00100030;
/** Other numbers, other names, and the name at birth. */
const OTHER_NAMES = [0x00101000, 0x00101001, 0x00101005];
const CHARACTER_SET = 0x00080005;
const LONG_VRS = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
/** Types whose texts are searched for names of the patient; without a type, all are. */
const TEXT_VRS = new Set(["", "AE", "CS", "LO", "SH", "UC", "UN"]);
/** Types that are not kept: free text, names of persons, and bytes of which nobody knows what they mean. */
const NEVER = new Set(["LT", "PN", "ST", "UR", "UT", "OB", "OW", "OD", "OF", "OL", "OV"]);
const OF_META = new Set([0x00020001, SOP_CLASS, 0x00020003, TRANSFER_SYNTAX, 0x00020012, 0x00020013]);
/** What of group 0008 says how an image was made; the rest of the group names people, institutions and requests. */
const OF_IMAGE = new Set([
  CHARACTER_SET, 0x00080008, 0x00080016, 0x00080018, 0x00080020, 0x00080021, 0x00080022, 0x00080023, 0x0008002a, 0x00080030,
  0x00080031, 0x00080032, 0x00080033, 0x00080060, 0x00080070, 0x00081010, 0x0008103e, 0x00081090, 0x00089007, 0x00089205,
  0x00089206, 0x00089207, 0x00089208, 0x00089209,
]);
const GROUPS = new Set([0x0018, 0x0020, 0x0028, 0x2050, 0x5200]);
/** Elements of these groups that identify: StudyID, comments, and the equipment that a study came through. */
const NEVER_TAGS = new Set([0x00200010, 0x00204000, 0x00184000, 0x00284000, 0x0018a001, 0x00209158, 0x00181400]);
/** Names of the device. It is recognised by them; they are not searched for names of the patient. */
const OF_DEVICE = new Set([0x00080070, 0x00081010, 0x00081090, 0x00181000]);

/** A file that is no DICOM file, or one of a form that is not read here. */
export class UnreadError extends Error {}

/** Of the bytes that are there, more are needed. */
class MoreError extends Error {}

class Reader {
  /** @param {Uint8Array} bytes @param {number} at @param {boolean} explicit @param {boolean} whole whether the file ends here */
  constructor(bytes, at, explicit, whole) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = at;
    this.explicit = explicit;
    this.whole = whole;
  }

  /** @param {number} count @returns {number} the position before them */
  take(count) {
    const { at } = this;
    if (at + count > this.bytes.length) throw this.whole ? new UnreadError("the file ends early") : new MoreError();
    this.at = at + count;
    return at;
  }

  /** Tag, type and length of the next element. */
  head() {
    const start = this.take(8);
    const tag = this.view.getUint16(start, true) * 0x10000 + this.view.getUint16(start + 2, true);
    if (!this.explicit || tag === ITEM || tag === ITEM_END || tag === SEQUENCE_END) {
      return { start, tag, vr: "", length: this.view.getUint32(start + 4, true) };
    }
    const vr = String.fromCharCode(this.bytes[start + 4], this.bytes[start + 5]);
    if (!/^[A-Z]{2}$/.test(vr)) throw new UnreadError("an element has no type");
    if (!LONG_VRS.has(vr)) return { start, tag, vr, length: this.view.getUint16(start + 6, true) };
    return { start, tag, vr, length: this.view.getUint32(this.take(4), true) };
  }

  /** Value of an element of known length. @param {number} length */
  value(length) {
    const at = this.take(length);
    return this.bytes.subarray(at, at + length);
  }
}

/** @param {number} tag */
const groupOf = (tag) => Math.floor(tag / 0x10000);

/** @param {number} tag @param {string} vr */
function isKept(tag, vr) {
  if (tag % 0x10000 === 0 || NEVER.has(vr) || NEVER_TAGS.has(tag)) return false;
  return groupOf(tag) === 0x0008 ? OF_IMAGE.has(tag) : GROUPS.has(groupOf(tag));
}

/** Header of an element. @param {number} tag @param {string} vr @param {number} length @param {boolean} explicit */
function headOf(tag, vr, length, explicit) {
  const long = explicit && LONG_VRS.has(vr);
  const head = new DataView(new ArrayBuffer(long ? 12 : 8));
  head.setUint16(0, groupOf(tag), true);
  head.setUint16(2, tag % 0x10000, true);
  if (explicit && vr) {
    head.setUint8(4, vr.charCodeAt(0));
    head.setUint8(5, vr.charCodeAt(1));
    if (long) head.setUint32(8, length, true);
    else head.setUint16(6, length, true);
  } else {
    head.setUint32(4, length, true);
  }
  return new Uint8Array(head.buffer);
}

/** An element with a text. @param {number} tag @param {string} vr @param {string} text @param {boolean} explicit */
function textElement(tag, vr, text, explicit) {
  const bytes = new TextEncoder().encode(text.length % 2 ? `${text} ` : text);
  return [headOf(tag, vr, bytes.length, explicit), bytes];
}

/** True if a value without type is a sequence. @param {Uint8Array} value */
function looksLikeItems(value) {
  return value.length >= 8 && value[0] === 0xfe && value[1] === 0xff && value[2] === 0x00 && value[3] === 0xe0;
}

/** Go to the end of a sequence or item of undefined length. @param {Reader} reader @param {number} end tag of its delimiter */
function skipUntil(reader, end) {
  for (;;) {
    const { tag, vr, length } = reader.head();
    if (tag === end) return;
    if (length !== UNDEFINED) reader.take(length);
    else if (tag === ITEM) skipUntil(reader, ITEM_END);
    else skipSequence(reader, vr);
  }
}

/** @param {Reader} reader @param {string} vr UN: its elements have no types */
function skipSequence(reader, vr) {
  const { explicit } = reader;
  if (vr === "UN") reader.explicit = false;
  skipUntil(reader, SEQUENCE_END);
  reader.explicit = explicit;
}

/**
 * The kept elements up to an end.
 * @param {Reader} reader @param {{ end: number, stop: number }} until position, or tag before which or with which they end
 * @param {(tag: number, value: Uint8Array) => Uint8Array} clean of texts
 * @param {Map<number, Uint8Array>} people takes the values of the elements of the patient
 * @returns {{ tag: number, bytes: Uint8Array[] }[]}
 */
function filtered(reader, until, clean, people) {
  const kept = [];
  while (reader.at < until.end) {
    const from = reader.at;
    const { tag, vr, length } = reader.head();
    if (tag === until.stop) {
      if (tag === PIXEL_DATA) reader.at = from;
      return kept;
    }
    if (length === UNDEFINED) {
      if (!["SQ", "", "UN"].includes(vr)) throw new UnreadError("an element has no length");
      if (vr !== "UN" && isKept(tag, "SQ")) kept.push({ tag, bytes: sequence(reader, tag, Infinity, clean) });
      else skipSequence(reader, vr);
      continue;
    }
    const start = reader.at;
    const value = reader.value(length);
    if (groupOf(tag) === 0x0010) people.set(tag, value);
    if (!isKept(tag, vr) || (vr === "UN" && looksLikeItems(value))) continue;
    if (vr === "SQ" || (vr === "" && looksLikeItems(value))) {
      const inner = new Reader(reader.bytes.subarray(0, start + length), start, reader.explicit, true);
      kept.push({ tag, bytes: sequence(inner, tag, start + length, clean) });
    } else {
      const cleaned = TEXT_VRS.has(vr) && !OF_DEVICE.has(tag) ? clean(tag, value) : value;
      kept.push({ tag, bytes: [headOf(tag, vr, cleaned.length, reader.explicit), cleaned] });
    }
  }
  return kept;
}

/** A sequence with its kept elements, without lengths. @param {Reader} reader @param {number} tag @param {number} end @param {any} clean */
function sequence(reader, tag, end, clean) {
  const out = [headOf(tag, "SQ", UNDEFINED, reader.explicit)];
  while (reader.at < end) {
    const { tag: item, length } = reader.head();
    if (item === SEQUENCE_END) break;
    if (item !== ITEM) throw new UnreadError("a sequence has no items");
    const until = length === UNDEFINED ? { end: Infinity, stop: ITEM_END } : { end: reader.at + length, stop: -1 };
    const elements = filtered(reader, until, clean, new Map()).flatMap(({ bytes }) => bytes);
    out.push(headOf(ITEM, "", UNDEFINED, false), ...elements, headOf(ITEM_END, "", 0, false));
  }
  return [...out, headOf(SEQUENCE_END, "", 0, false)];
}

/** The meta information: its kept elements, transfer syntax and class. @param {Reader} reader */
function metaOf(reader) {
  const kept = [];
  const texts = new Map();
  while (reader.at + 2 <= reader.bytes.length && reader.view.getUint16(reader.at, true) === 0x0002) {
    const { tag, vr, length } = reader.head();
    const value = reader.value(length);
    texts.set(tag, String.fromCharCode(...value.subarray(0, 128)).replace(/[\0 ]+$/, ""));
    if (OF_META.has(tag)) kept.push(headOf(tag, vr, length, true), value);
  }
  const size = kept.reduce((total, part) => total + part.length, 0);
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, size, true);
  return { parts: [headOf(0x00020000, "UL", 4, true), bytes, ...kept], syntax: texts.get(TRANSFER_SYNTAX), sopClass: texts.get(SOP_CLASS) };
}

/**
 * Refuse a file with elements after the pixel data, other than padding. An end that is missing is left to the reading centre.
 * @param {File} file @param {number} at of the pixel data @param {boolean} explicit
 */
async function requireNothingAfterPixels(file, at, explicit) {
  const reader = new Reader(new Uint8Array(await file.slice(at, at + 12).arrayBuffer()), 0, explicit, true);
  const { length } = reader.head();
  let place = at + reader.at;
  if (length !== UNDEFINED) place += length;
  else if (!explicit) throw new UnreadError("compressed pixel data without types");
  else place = await afterFragments(file, place);
  if (place >= file.size) return;
  const rest = new Reader(new Uint8Array(await file.slice(place, place + 12).arrayBuffer()), 0, explicit, true);
  if (rest.head().tag !== PADDING) throw new UnreadError("elements after the pixel data");
}

/** Position after compressed frames. @param {File} file @param {number} place of the first item */
async function afterFragments(file, place) {
  while (place + 8 <= file.size) {
    const { tag, length } = new Reader(new Uint8Array(await file.slice(place, place + 8).arrayBuffer()), 0, false, true).head();
    place += 8;
    if (tag === SEQUENCE_END) return place;
    if (tag !== ITEM || length === UNDEFINED) throw new UnreadError("pixel data of another form");
    place += length;
  }
  return file.size;
}

/** Values of the patient as texts. @param {Map<number, Uint8Array>} people @param {boolean} utf8 */
function personOf(people, utf8) {
  const decoder = new TextDecoder(utf8 ? "utf-8" : "latin1");
  const text = (/** @type {number} */ tag) => decoder.decode(people.get(tag) ?? new Uint8Array()).replace(/[\0 ]+$/, "");
  const known = [PATIENT_ID, PATIENT_NAME, BIRTH_DATE, ...OTHER_NAMES].map(text);
  const spelt = known.flatMap((one) => [one, one.toUpperCase(), one.toLowerCase()]);
  const bytes = [...spelt, ...spelt.map((one) => byteText(new TextEncoder().encode(one)))];
  return { number: text(PATIENT_ID), name: text(PATIENT_NAME), birth: text(BIRTH_DATE), bytes };
}

/**
 * @typedef {{ number: string, name: string, birth: string, bytes: string[] }} Person bytes: all names and numbers, a character for each byte, in Latin-1 and UTF-8
 * @typedef {{ pseudonyms: (person: Person) => Promise<{ number: string, name: string }>,
 *   masked: (person: Person) => (value: Uint8Array) => Uint8Array }} Identity
 */

/**
 * A DICOM file without what names a person.
 * @param {File} file @param {Identity} identity
 * @returns {Promise<Blob | null>} null for the directory of a medium, which is not sent
 * @throws {UnreadError} if it is not read here
 */
export async function withoutNames(file, identity) {
  for (let size = FIRST_BYTES; ; size *= 4) {
    const bytes = new Uint8Array(await file.slice(0, size).arrayBuffer());
    try {
      return await cleaned(file, bytes, identity);
    } catch (error) {
      if (error instanceof RangeError) throw new UnreadError("the file ends early");
      if (!(error instanceof MoreError)) throw error;
    }
  }
}

/** @param {File} file @param {Uint8Array} bytes its first ones @param {Identity} identity */
async function cleaned(file, bytes, identity) {
  const whole = bytes.length >= file.size;
  if (!isDicom(bytes)) throw new UnreadError("no DICOM file");
  const first = new Reader(bytes, PREAMBLE, true, whole);
  const meta = metaOf(first);
  if (meta.sopClass === DICOMDIR) return null;
  if (!meta.syntax || [DEFLATED, BIG_ENDIAN].includes(meta.syntax)) throw new UnreadError("a transfer syntax that is not read here");
  const explicit = meta.syntax !== IMPLICIT;
  const until = { end: whole ? bytes.length : Infinity, stop: PIXEL_DATA };
  const { person, reader, kept } = filteredTwice(() => new Reader(bytes, first.at, explicit, whole), until, identity);
  const pixels = reader.at < file.size ? [file.slice(reader.at)] : [];
  if (pixels.length) await requireNothingAfterPixels(file, reader.at, explicit);
  const { number, name } = await identity.pseudonyms(person);
  const elements = [
    ...kept, { tag: PATIENT_NAME, bytes: textElement(PATIENT_NAME, "PN", name, explicit) },
    { tag: PATIENT_ID, bytes: textElement(PATIENT_ID, "LO", number, explicit) },
  ].sort((a, b) => a.tag - b.tag);
  const preamble = new Uint8Array(PREAMBLE);
  preamble.set(MAGIC, PREAMBLE - MAGIC.length);
  return new Blob(/** @type {BlobPart[]} */ ([preamble, ...meta.parts, ...elements.flatMap((element) => element.bytes), ...pixels]));
}

/** The person first, then the kept elements: some that may repeat the name come before it. */
function filteredTwice(begin, until, identity) {
  /** @type {Map<number, Uint8Array>} */
  const people = new Map();
  let charset = "";
  filtered(begin(), until, (tag, value) => {
    if (tag === CHARACTER_SET) charset += byteText(value);
    return value;
  }, people);
  const person = personOf(people, charset.includes("192"));
  const mask = identity.masked(person);
  const reader = begin();
  const kept = filtered(reader, until, (tag, value) => (tag === CHARACTER_SET ? value : mask(value)), new Map());
  return { person, reader, kept };
}

/** True for a file with the signature of DICOM, or one that begins like a data set without it. @param {Uint8Array} bytes */
export function mayBeDicom(bytes) {
  return isDicom(bytes) || (bytes[0] === 0x08 && bytes[1] === 0 && bytes[3] === 0);
}

/** @param {Uint8Array} bytes */
function isDicom(bytes) {
  return bytes.length >= PREAMBLE && MAGIC.every((byte, at) => bytes[PREAMBLE - MAGIC.length + at] === byte);
}
