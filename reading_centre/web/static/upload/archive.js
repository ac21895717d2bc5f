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
    found.push({ file: await unpack(), path });
    report(found.length);
  }
  return found;
}
