/** Files of a zip archive (also Zip64), by its central directory. Each is checked by its CRC-32. */

import { Inflated, chunksOf } from "./source.js";
import { TEXTS } from "./texts.js";
import { UnreadError } from "./unread.js";

const END = 0x06054b50;
const END_64 = 0x06064b50;
const PLACE_64 = 0x07064b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const LONGEST_COMMENT = 65_535;
const MOST_DIRECTORY = 64 * 1024 * 1024;
const [STORED, DEFLATED] = [0, 8];
const ENCRYPTED = 0x2041; // with a password, strongly, or its directory
const UTF_8 = 0x0800;
const [KIND_OF_FILE, REGULAR, FOLDER] = [0xf000, 0x8000, 0x4000];
const UNIX = 3;

const damaged = () => new UnreadError(TEXTS.unread.damaged);

/** @param {Blob} file @param {number} from @param {number} to @returns {Promise<DataView>} */
async function viewOf(file, from, to) {
  if (from < 0 || to > file.size || from > to) throw damaged();
  return new DataView(await file.slice(from, to).arrayBuffer());
}

/** @param {DataView} view @param {number} at */
function long(view, at) {
  const value = Number(view.getBigUint64(at, true));
  if (!Number.isSafeInteger(value)) throw damaged();
  return value;
}

/**
 * @param {Blob} file
 * @returns {AsyncGenerator<{ path: string, size: number, unpack: () => Promise<Blob> }>}
 */
export async function* zipMembers(file) {
  const directory = await directoryOf(file);
  const view = await viewOf(file, directory.from, directory.to);
  let count = 0;
  for (let at = 0; at < view.byteLength; count += 1) {
    const entry = entryOf(view, at);
    at = entry.next;
    if (entry.path.endsWith("/")) continue;
    if (entry.flags & ENCRYPTED) throw new UnreadError(TEXTS.unread.encrypted);
    if (entry.special) throw new UnreadError(TEXTS.unread.special);
    if (entry.method !== STORED && entry.method !== DEFLATED) throw new UnreadError(TEXTS.unread.method);
    yield { path: entry.path, size: entry.size, unpack: () => unpacked(file, entry, directory.from) };
  }
  if (count !== directory.count) throw damaged();
}

/** Place of the central directory. @param {Blob} file */
async function directoryOf(file) {
  const from = Math.max(0, file.size - END_BYTES - LONGEST_COMMENT);
  const tail = await viewOf(file, from, file.size);
  let at = tail.byteLength - END_BYTES;
  while (at >= 0 && !(tail.getUint32(at, true) === END && tail.getUint16(at + 20, true) === tail.byteLength - END_BYTES - at)) at -= 1;
  if (at < 0) throw damaged();
  let end = from + at;
  let [count, size, place] = [tail.getUint16(at + 10, true), tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  const parts = tail.getUint32(at + 4, true); // numbers of this part and of the one with the directory
  const locator = await viewOf(file, Math.max(0, end - 20), end);
  if (locator.byteLength === 20 && locator.getUint32(0, true) === PLACE_64) {
    end = long(locator, 8);
    const view = await viewOf(file, end, end + 56);
    if (view.getUint32(0, true) !== END_64) throw damaged();
    [count, size, place] = [long(view, 32), long(view, 40), long(view, 48)];
  } else if (parts) throw damaged();
  if (place + size !== end || size > MOST_DIRECTORY) throw damaged();
  return { from: place, to: end, count };
}

/** An entry of the central directory. @param {DataView} view @param {number} at */
function entryOf(view, at) {
  if (at + 46 > view.byteLength || view.getUint32(at, true) !== ENTRY) throw damaged();
  const [name, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
  const next = at + 46 + name + extra + comment;
  if (next > view.byteLength) throw damaged();
  const flags = view.getUint16(at + 8, true);
  const bytes = new Uint8Array(view.buffer, at + 46, name);
  const kind = view.getUint8(at + 5) === UNIX ? view.getUint16(at + 40, true) & KIND_OF_FILE : 0;
  const [packed, size, place] = sizesOf(view, at, at + 46 + name, extra);
  return {
    path: new TextDecoder(flags & UTF_8 ? "utf-8" : "latin1").decode(bytes), flags, method: view.getUint16(at + 10, true),
    crc: view.getUint32(at + 16, true), special: kind !== 0 && kind !== REGULAR && kind !== FOLDER, packed, size, place, next,
  };
}

/** Packed size, size and place: those of Zip64 stand in an extra field. @param {DataView} view @param {number} at @param {number} extra @param {number} length */
function sizesOf(view, at, extra, length) {
  let [packed, size, place] = [20, 24, 42].map((offset) => view.getUint32(at + offset, true));
  for (let field = extra; field + 4 <= extra + length; field += 4 + view.getUint16(field + 2, true)) {
    if (view.getUint16(field, true) !== 0x0001) continue;
    let value = field + 4;
    const end = value + view.getUint16(field + 2, true);
    const taken = (/** @type {number} */ short) => {
      if (short !== 0xffffffff) return short;
      if (value + 8 > Math.min(end, extra + length)) throw damaged();
      value += 8;
      return long(view, value - 8);
    };
    size = taken(size);
    packed = taken(packed);
    place = taken(place);
  }
  return [packed, size, place];
}

/** @param {Blob} file @param {ReturnType<typeof entryOf>} entry @param {number} end of the data */
async function unpacked(file, { place, packed, size, method, crc }, end) {
  const local = await viewOf(file, place, place + 30);
  if (local.getUint32(0, true) !== LOCAL) throw damaged();
  const start = place + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  if (start + packed > end || (method === STORED && packed !== size)) throw damaged();
  const data = file.slice(start, start + packed);
  const blob = method === STORED ? data : await inflated(data, size);
  if ((await crcOf(blob)) !== crc) throw damaged();
  return blob;
}

/** @param {Blob} data @param {number} size */
async function inflated(data, size) {
  const source = new Inflated(data, "deflate-raw");
  const blob = await source.take(size);
  await source.rest((chunk) => { if (chunk.length) throw damaged(); }); // more than it says
  return blob;
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** @param {Blob} blob */
async function crcOf(blob) {
  let crc = 0xffffffff;
  await chunksOf(blob.stream(), (chunk) => { for (const byte of chunk) crc = (crc >>> 8) ^ CRC[(crc ^ byte) & 0xff]; });
  return (crc ^ 0xffffffff) >>> 0;
}
