/**
 * Reader and filter of DICOM headers. It keeps what the reading centre reads, and nothing that names a person.
 * Pixel data are neither read nor changed: the new file is a new header before the old pixel data.
 */

import { decoderOf, latin1, readings } from "./charset.js";
import { IDENTIFYING, NAMES, SENT } from "./elements.js";
import { SHORTEST_WITHIN } from "./search.js";
import { TEXTS } from "./texts.js";
import { LeftOutError, UnreadError } from "./unread.js";

export { UnreadError };

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
const META_VERSION = 0x00020001;
const CLASS_OF_FILE = 0x00020002;
const INSTANCE_OF_FILE = 0x00020003;
const SOP_CLASS = 0x00080016;
const MODALITY = 0x00080060;
const OTHER_MODALITIES = [
  "OT", "SC", "SR", "PR", "KO", "DOC", "SEG", "REG", "FID", "RWV", "PLAN", "CT", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "XC", "ES", "GM",
  "SM", "OP", "IO", "PX", "ECG", "AU", "HC", "RTIMAGE", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTRECORD",
];
const UID = /^[\d.]{6,64}$/;
const OF_DICOM = "1.2.840.10008.";
/** Classes of objects of DICOM; another one with this beginning is damaged. */
const STORAGE = /^1\.2\.840\.10008\.5\.1\.4\.[\d.]+$/;
const BURNED_IN = 0x00280301;
const SERIES = 0x0020000e;
const SERIES_NUMBER = 0x00200011;
/** Images of MR: single, enhanced, and converted to enhanced. The reading centre uses no other objects. */
const OF_MR = ["1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"];
const CHARACTER_SET = 0x00080005;
const PATIENT_NAME = 0x00100010;
const PATIENT_ID = 0x00100020;
const BIRTH_DATE = 0x00100030;
const PERSON_NAME = 0x0040a123;
const LONG_VRS = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const BINARY_VRS = new Set(["", "US", "SS", "UL", "SL", "FL", "FD"]);
const OF_META = new Set([META_VERSION, CLASS_OF_FILE, INSTANCE_OF_FILE, TRANSFER_SYNTAX, 0x00020012]);
/** A decimal number, a date, a time or a UID. Other values of these types are searched as texts. */
const NUMERIC = /^[-+.,:\d\\ eE\0]*$/;

/** A binary number that may be a text. */
const PRINTABLE = /^[ -~]{3,}\0?$/;

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

/** Go behind fragments. @param {Reader} reader */
function skipFragments(reader) {
  for (;;) {
    const { tag, length } = reader.head();
    if (tag === SEQUENCE_END) return;
    if (tag !== ITEM || length === UNDEFINED) throw new UnreadError("an element has no length");
    reader.take(length);
  }
}

/** Manufacturer, model and software. A patient named Vida is not identified by the name of a scanner. */
const OF_THE_DEVICE = new Set([0x00080070, 0x00081090, 0x00181020]);
/** Station name and serial number: they often have a part of the institution's name, and are searched for the patient only. */
const OF_THE_SCANNER = new Set([0x00081010, 0x00181000]);

/** What a data set with all its sequences has: identities, and texts, numbers and UIDs that are sent. */
class Found {
  /** @type {{ tag: number, text: string }[]} */
  identities = [];
  /** Texts that are sent, with what is searched in them, and an element that has them. @type {Map<string, import("./search.js").Scope & { tag: number, text: string }>} */
  texts = new Map();
  /** With an element that has them. @type {Map<string, number>} */
  numbers = new Map();
  /** @type {Map<string, number>} */
  uids = new Map();
  /** Days and times of the scan. @type {Set<string>} */
  dates = new Set();
  /** Texts that are not within a sequence. @type {Map<number, string>} */
  outer = new Map();

  /** @param {number} tag @param {string} kind of the element @param {string} text */
  addText(tag, kind, text) {
    if (["NUMBER", "UID", "DATE"].includes(kind) && NUMERIC.test(text)) {
      if (kind === "DATE") this.dates.add(text);
      else (kind === "UID" ? this.uids : this.numbers).set(text, tag);
      return;
    }
    const within = kind === "CS" ? SHORTEST_WITHIN + 1 : SHORTEST_WITHIN;
    const scope = { within, ofPatient: OF_THE_SCANNER.has(tag), ofDevice: OF_THE_DEVICE.has(tag) };
    this.texts.set(JSON.stringify([text, scope]), { ...scope, tag, text });
  }

  /**
   * The element that has an identity, of what is sent. The day of the scan is sent: it is none within a UID.
   * @param {import("./search.js").Search} search @returns {number | undefined}
   */
  has(search) {
    const days = [...this.dates].map((date) => date.slice(0, 8));
    return [...this.texts.values()].find((one) => search.inText(one.text, one))?.tag ??
      [...this.numbers].find(([number]) => search.inNumber(number, false, []))?.[1] ??
      [...this.uids].find(([uid]) => search.inNumber(uid, true, days))?.[1];
  }
}

/**
 * The elements up to an end that are sent.
 * @param {Reader} reader @param {{ end: number, stop: number }} until position, or tag before which or with which they end
 * @param {Found} found takes identities and texts
 * @param {(value: Uint8Array) => string} decode
 * @param {boolean} sent false within a sequence that is not sent
 * @returns {{ tag: number, bytes: Uint8Array[] }[]}
 */
function filtered(reader, until, found, decode, sent) {
  const kept = [];
  let hasText = false;
  while (reader.at < until.end) {
    const from = reader.at;
    const { tag, vr, length } = reader.head();
    if (tag === until.stop) {
      if (tag === PIXEL_DATA) reader.at = from;
      return kept;
    }
    const kind = sent ? SENT.get(tag) : undefined;
    if (kind) requireKind(kind, vr);
    if (kind === "SQ" || vr === "SQ" || length === UNDEFINED) {
      const bytes = sequence(reader, { tag, vr, length }, found, decode, kind === "SQ");
      if (kind === "SQ") kept.push({ tag, bytes });
      else if (kind) throw new UnreadError("a sequence in place of a value");
      continue;
    }
    const value = reader.value(length);
    if (tag === CHARACTER_SET) {
      if (hasText) throw new UnreadError("texts before their character set");
      decode = decoderOf(value);
    }
    const isIdentity = vr === "PN" || IDENTIFYING.has(tag);
    const texts = isIdentity || (kind && kind !== "BINARY") ? readings(value, decode) : [];
    const named = vr === "PN" && !NAMES.has(tag) ? PERSON_NAME : tag; // also private ones
    if (isIdentity) found.identities.push(...texts.map((text) => ({ tag: named, text })));
    if (kind) texts.forEach((text) => found.addText(tag, kind, text));
    if (kind === "BINARY" && PRINTABLE.test(latin1(value))) found.addText(tag, kind, latin1(value));
    if (texts.length && until.stop === PIXEL_DATA) found.outer.set(tag, texts[0]);
    hasText ||= isIdentity || Boolean(kind);
    if (kind) kept.push({ tag, bytes: [headOf(tag, vr, length, reader.explicit), value] });
    else if (["", "UN"].includes(vr) && looksLikeItems(value)) searchItems(value, found, decode);
  }
  return kept;
}

/** Refuse a type that could hide a name. @param {string} kind @param {string} vr */
function requireKind(kind, vr) {
  const fits = kind === "SQ" ? ["SQ", ""].includes(vr) : kind !== "BINARY" || BINARY_VRS.has(vr);
  if (!fits) throw new UnreadError("an element of another type");
}

/** Identities in a value of unknown type that is perhaps a sequence; it is not sent. @param {Uint8Array} value @param {Found} found @param {any} decode */
function searchItems(value, found, decode) {
  try {
    sequence(new Reader(value, 0, false, true), { tag: 0, vr: "", length: value.length }, found, decode, false);
  } catch (error) {
    if (!(error instanceof UnreadError || error instanceof RangeError)) throw error;
  }
}

/**
 * A sequence with its elements that are sent, without lengths.
 * @param {Reader} reader behind its head @param {{ tag: number, vr: string, length: number }} head
 * @param {Found} found @param {(value: Uint8Array) => string} decode @param {boolean} sent
 * @returns {Uint8Array[]}
 */
function sequence(reader, { tag, vr, length }, found, decode, sent) {
  if (length !== UNDEFINED) {
    const start = reader.take(length);
    const inner = new Reader(reader.bytes.subarray(0, start + length), start, reader.explicit, true);
    return items(inner, tag, start + length, found, decode, sent);
  }
  if (!["SQ", "UN", ""].includes(vr)) {
    skipFragments(reader);
    return [];
  }
  const { explicit } = reader;
  reader.explicit = explicit && vr !== "UN"; // elements within have no types
  const bytes = items(reader, tag, Infinity, found, decode, sent);
  reader.explicit = explicit;
  return bytes;
}

/** @param {Reader} reader @param {number} tag @param {number} end @param {Found} found @param {any} decode @param {boolean} sent */
function items(reader, tag, end, found, decode, sent) {
  const out = [headOf(tag, "SQ", UNDEFINED, reader.explicit)];
  while (reader.at < end) {
    const { tag: item, length } = reader.head();
    if (item === SEQUENCE_END) break;
    if (item !== ITEM) throw new UnreadError("a sequence has no items");
    const until = length === UNDEFINED ? { end: Infinity, stop: ITEM_END } : { end: reader.at + length, stop: -1 };
    const elements = filtered(reader, until, found, decode, sent).flatMap(({ bytes }) => bytes);
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
    if (!OF_META.has(tag)) continue;
    const text = latin1(value).replace(/[\0 ]+$/, "");
    if (tag !== META_VERSION && !NUMERIC.test(text)) throw new UnreadError("a UID that is none");
    texts.set(tag, text);
    kept.push(headOf(tag, vr, length, true), value);
  }
  const size = kept.reduce((total, part) => total + part.length, 0);
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, size, true);
  return { parts: [headOf(0x00020000, "UL", 4, true), bytes, ...kept], texts };
}

/**
 * Position after the pixel data. Padding that follows may hold anything and is not sent. An end that is missing is left to the
 * reading centre.
 * @param {Blob} file @param {number} at of the pixel data @param {boolean} explicit
 * @returns {Promise<number>} throws UnreadError for a file with other elements after the pixel data
 */
async function endOfPixels(file, at, explicit) {
  const reader = new Reader(new Uint8Array(await file.slice(at, at + 12).arrayBuffer()), 0, explicit, true);
  const { length } = reader.head();
  let place = at + reader.at;
  if (length !== UNDEFINED) place += length;
  else if (!explicit) throw new UnreadError("compressed pixel data without types");
  else place = await afterFragments(file, place);
  if (place >= file.size) return file.size;
  const rest = new Reader(new Uint8Array(await file.slice(place, place + 12).arrayBuffer()), 0, explicit, true);
  if (rest.head().tag !== PADDING) throw new UnreadError("elements after the pixel data");
  return place;
}

/** Position after compressed frames. @param {Blob} file @param {number} place of the first item */
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

/**
 * A DICOM file without what names a person.
 * @param {Blob} file @param {import("./identity.js").Identity} identity
 * @returns {Promise<{ blob: Blob, series: string }>} the file that is sent, and the UID of its series
 * @throws {LeftOutError} for what is not sent: other objects than images of MR, and images with text burned in
 * @throws {UnreadError} if it is not read here, or if a text that is sent holds an identity
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

/** @param {Blob} file @param {Uint8Array} bytes its first ones @param {import("./identity.js").Identity} identity */
async function cleaned(file, bytes, identity) {
  const whole = bytes.length >= file.size;
  if (!isDicom(bytes)) throw new UnreadError("no DICOM file");
  const first = new Reader(bytes, PREAMBLE, true, whole);
  const meta = metaOf(first);
  const syntax = meta.texts.get(TRANSFER_SYNTAX);
  if (meta.texts.get(CLASS_OF_FILE) === DICOMDIR) throw new LeftOutError(TEXTS.leftOut.directory, "");
  if (!syntax || [DEFLATED, BIG_ENDIAN].includes(syntax)) throw new UnreadError("a transfer syntax that is not read here");
  const explicit = syntax !== IMPLICIT;
  const until = { end: whole ? bytes.length : Infinity, stop: PIXEL_DATA };
  const reader = new Reader(bytes, first.at, explicit, whole);
  const found = new Found();
  const kept = filtered(reader, until, found, decoderOf(new Uint8Array()), true);
  const series = (found.outer.get(SERIES) ?? "").trim();
  const why = whyNotUsed(found.outer, meta.texts);
  if (why) throw new LeftOutError(why, series);
  found.uids.set(meta.texts.get(INSTANCE_OF_FILE) ?? "", INSTANCE_OF_FILE);
  const tag = found.has(identity.search(found.identities));
  if (tag !== undefined) throw new UnreadError("a description holds patient data", TEXTS.place(tag, found.outer.get(SERIES_NUMBER)?.trim() ?? ""));
  const pixels = reader.at < file.size ? [file.slice(reader.at, await endOfPixels(file, reader.at, explicit))] : [];
  const [patientNumber, patientName, birth] = [PATIENT_ID, PATIENT_NAME, BIRTH_DATE].map((tag) => found.outer.get(tag) ?? "");
  const { number, name } = await identity.pseudonyms({ number: patientNumber, name: patientName, birth });
  const elements = [
    ...kept, { tag: PATIENT_NAME, bytes: textElement(PATIENT_NAME, "PN", name, explicit) },
    { tag: PATIENT_ID, bytes: textElement(PATIENT_ID, "LO", number, explicit) },
  ].sort((a, b) => a.tag - b.tag);
  const preamble = new Uint8Array(PREAMBLE);
  preamble.set(MAGIC, PREAMBLE - MAGIC.length);
  const parts = [preamble, ...meta.parts, ...elements.flatMap((element) => element.bytes), ...pixels];
  return { blob: new Blob(/** @type {BlobPart[]} */ (parts)), series };
}

/**
 * Why the reading centre does not use an object: no image of MR, such as a screenshot or a document, or text burned in.
 * @param {Map<number, string>} outer @param {Map<number, string>} meta
 * @returns {string} empty if it does
 */
function whyNotUsed(outer, meta) {
  const text = (/** @type {number} */ tag) => (outer.get(tag) ?? "").trim().toUpperCase();
  const kind = text(SOP_CLASS) || meta.get(CLASS_OF_FILE);
  if (kind && !OF_MR.includes(kind)) {
    if (!UID.test(kind) || (kind.startsWith(OF_DICOM) && !STORAGE.test(kind))) throw new UnreadError("its class is none of DICOM");
    return TEXTS.leftOut.class(kind); // also an object of a manufacturer
  }
  const modality = text(MODALITY);
  if (!["", "MR"].includes(modality) && !OTHER_MODALITIES.includes(modality)) throw new UnreadError("its modality is unknown");
  if (OTHER_MODALITIES.includes(modality)) return TEXTS.leftOut.modality(modality);
  return text(BURNED_IN) === "YES" ? TEXTS.leftOut.burnedIn : "";
}

/** True for a file with the signature of DICOM, or one that begins like a data set without it. @param {Uint8Array} bytes */
export function mayBeDicom(bytes) {
  return isDicom(bytes) || (bytes[0] === 0x08 && bytes[1] === 0 && bytes[3] === 0);
}

/** @param {Uint8Array} bytes */
function isDicom(bytes) {
  return bytes.length >= PREAMBLE && MAGIC.every((byte, at) => bytes[PREAMBLE - MAGIC.length + at] === byte);
}
