/** The files of an archive, so that names are removed from them as from those of a folder. */

import { TEXTS } from "./texts.js";
import { UnreadError } from "./unread.js";
import { tarMembers } from "./untar.js";
import { zipMembers } from "./unzip.js";

/** Limits of the unpacked files, as at the reading centre (`mri_pipeline.intake.unpack`). */
const MOST_FILES = 50_000;
const MOST_BYTES = 8e9;
const MOST_TIMES = 200;
const FREE_BYTES = 50e6;

/** First bytes of archives (zip, gzip, 7z, rar). */
/** Files of the system, which are not sent. */
export const HIDDEN = /(^|\/)(\.|__MACOSX|Thumbs\.db$|desktop\.ini$)/i;
const ARCHIVES = [[0x50, 0x4b, 3, 4], [0x1f, 0x8b], [0x37, 0x7a, 0xbc, 0xaf], [0x52, 0x61, 0x72, 0x21]];

/** A path without "./". @param {string} path @throws {UnreadError} if it leads out of the archive */
function plain(path) {
  const parts = path.split(/[\\/]/);
  if (parts.includes("..") || parts[0] === "" || /^[A-Za-z]:/.test(parts[0])) throw new UnreadError(TEXTS.unread.paths);
  return parts.filter((part) => part && part !== ".").join("/");
}

const startsWith = (/** @type {Uint8Array} */ bytes, /** @type {number[]} */ ...signature) => signature.every((byte, at) => bytes[at] === byte);

/**
 * @param {File} file @param {(done: number) => void} report
 * @returns {Promise<{ file: Blob, path: string }[]>}
 * @throws {UnreadError} if it is not read here; its message says why
 */
export async function filesOfArchive(file, report) {
  const first = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  const members = startsWith(first, 0x50, 0x4b) ? zipMembers(file) : tarMembers(file, startsWith(first, 0x1f, 0x8b));
  const found = [];
  let total = 0;
  for await (const { path, size, unpack } of members) { // the size is checked before a file is unpacked
    total += size;
    if (found.length >= MOST_FILES || total > MOST_BYTES || (total > FREE_BYTES && total > MOST_TIMES * file.size)) throw new UnreadError(TEXTS.unread.large);
    const unpacked = await unpack();
    const begin = new Uint8Array(await unpacked.slice(0, 4).arrayBuffer());
    const place = plain(path);
    if (!HIDDEN.test(place) && ARCHIVES.some((signature) => startsWith(begin, ...signature))) throw new UnreadError(TEXTS.unread.nested);
    found.push({ file: unpacked, path: place });
    report(found.length);
  }
  return found;
}
