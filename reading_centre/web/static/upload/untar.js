/** Files of a tar archive (POSIX ustar and pax, GNU), also of a compressed one. */

import { Inflated, Slices } from "./source.js";
import { TEXTS } from "./texts.js";
import { UnreadError } from "./unread.js";

const BLOCK = 512;
const MOST_TEXT = 1024 * 1024;
const [REGULAR, OLD_REGULAR, FOLDER, PAX, PAX_GLOBAL, GNU_NAME] = ["0", "\0", "5", "x", "g", "L"];

const text = (/** @type {Uint8Array} */ bytes) => new TextDecoder().decode(bytes);
const upToNul = (/** @type {Uint8Array} */ bytes) => text(bytes).split("\0")[0];
const isZero = (/** @type {Uint8Array} */ bytes) => bytes.every((byte) => byte === 0);
const bytesOf = async (/** @type {Blob} */ blob) => new Uint8Array(await blob.arrayBuffer());

/**
 * @param {Blob} file @param {boolean} compressed
 * @returns {AsyncGenerator<{ path: string, size: number, unpack: () => Promise<Blob> }>} each is unpacked before the next one
 */
export async function* tarMembers(file, compressed) {
  const source = compressed ? new Inflated(file, "gzip") : new Slices(file);
  let path = "";
  let size = -1;
  for (;;) {
    const header = await bytesOf(await source.take(BLOCK));
    if (isZero(header)) break;
    if (!sumFits(header)) throw new UnreadError(TEXTS.unread.damaged);
    const type = String.fromCharCode(header[156]);
    const stated = numberOf(header.subarray(124, 136));
    if (type === PAX || type === GNU_NAME || type === PAX_GLOBAL) {
      if (stated > MOST_TEXT) throw new UnreadError(TEXTS.unread.damaged);
      const content = await bytesOf(await source.take(stated));
      await source.take(paddingOf(stated));
      if (type === GNU_NAME) path = upToNul(content);
      if (type !== PAX) continue;
      const facts = paxOf(text(content));
      path = facts.get("path") ?? path;
      if (facts.has("size")) size = /^\d+$/.test(facts.get("size")) ? Number(facts.get("size")) : NaN;
      if (!Number.isSafeInteger(size)) throw new UnreadError(TEXTS.unread.damaged);
      if ([...facts.keys()].some((name) => name.startsWith("GNU.sparse"))) throw new UnreadError(TEXTS.unread.special);
      continue;
    }
    const member = { path: path || nameOf(header), size: size < 0 ? stated : size };
    path = "";
    size = -1;
    if (type === FOLDER) continue;
    if (type !== REGULAR && type !== OLD_REGULAR) throw new UnreadError(TEXTS.unread.special);
    yield { ...member, unpack: () => source.take(member.size) };
    await source.take(paddingOf(member.size));
  }
  await source.rest((chunk) => { if (!isZero(chunk)) throw new UnreadError(TEXTS.unread.damaged); }); // joined archives
}

/** @param {number} size */
const paddingOf = (size) => (BLOCK - (size % BLOCK)) % BLOCK;

/** @param {Uint8Array} header */
function nameOf(header) {
  const prefix = upToNul(header.subarray(257, 262)) === "ustar" ? upToNul(header.subarray(345, 500)) : "";
  return (prefix ? `${prefix}/` : "") + upToNul(header.subarray(0, 100));
}

/** The checksum counts itself as spaces. @param {Uint8Array} header */
function sumFits(header) {
  const sum = header.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  return sum === numberOf(header.subarray(148, 156));
}

/** An octal number, or a binary one of GNU. @param {Uint8Array} field */
function numberOf(field) {
  const value = field[0] & 0x80
    ? field.reduce((total, byte, at) => total * 256 + (at ? byte : byte & 0x7f), 0)
    : Number(`0o${upToNul(field).trim() || "0"}`);
  if (!Number.isSafeInteger(value)) throw new UnreadError(TEXTS.unread.damaged);
  return value;
}

/** Records "length name=value". @param {string} content @returns {Map<string, string>} */
function paxOf(content) {
  return new Map(content.split("\n").map((line) => line.match(/^\d+ ([^=]+)=(.*)$/)).filter((found) => found !== null).map(([, name, value]) => [name, value]));
}
