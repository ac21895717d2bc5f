/** Files that a person has chosen or dropped: they become one tar archive. An archive that is not read here stays as it is. */

import { HIDDEN, filesOfArchive } from "./archive.js";
import { mayBeDicom, withoutNames } from "./dicom.js";
import { tarOf } from "./tar.js";
import { TEXTS } from "./texts.js";
import { LeftOutError, UnreadError } from "./unread.js";

const ARCHIVE = /\.(zip|tar|tgz|tar\.gz)$/i;

/** A file with the reason for which the page lists it. @typedef {{ path: string, why: string }} Listed */

/** What is sent. */
export class Chosen {
  /** Objects that are not sent. @type {Listed[]} */
  left = [];
  /** Files that keep the others from being cleaned. @type {Listed[]} */
  notCleaned = [];

  /**
   * @param {Blob} blob @param {string} content digest by which the same files are known again @param {string} text
   * @param {number} whole number of files that are sent as they are
   */
  constructor(blob, content, text, whole) {
    this.blob = blob;
    this.content = content;
    this.text = text;
    this.whole = whole;
    /** False if all files are left out. */
    this.canBeSent = true;
  }

  /**
   * @param {{ file: File, path: string }[]} found
   * @param {import("./identity.js").Identity} identity @param {(done: number, of: number) => void} report
   * @returns {Promise<Chosen | null>} null if there is nothing to send
   */
  static async of(found, identity, report) {
    const files = inOrder(found);
    if (!files.length) return null;
    const facts = files.map(({ file }) => [file.size, file.lastModified]);
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(facts)));
    const content = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (files.length === 1 && ARCHIVE.test(files[0].file.name)) return Chosen.ofArchive(files[0].file, content, identity, report);
    const cleaned = await namesRemoved(files, identity, report);
    const blobs = cleaned.notCleaned.length ? files.map(({ file }) => file) : cleaned.blobs;
    return Chosen.ofFiles(cleaned.notCleaned.length ? { ...cleaned, blobs, whole: blobs.length, left: [] } : cleaned, content);
  }

  /** @param {File} archive @param {string} content @param {import("./identity.js").Identity} identity @param {(done: number, of: number) => void} report */
  static async ofArchive(archive, content, identity, report) {
    let why = TEXTS.unread.dicom;
    /** @type {Listed[]} */
    let notCleaned = [];
    try {
      const files = inOrder(await filesOfArchive(archive, (done) => report(done, 0)));
      if (files.some(({ path }) => ARCHIVE.test(path))) throw new UnreadError(TEXTS.unread.nested);
      if (!files.length) throw new UnreadError(TEXTS.unread.empty);
      const cleaned = await namesRemoved(files, identity, report);
      if (!cleaned.notCleaned.length) return Chosen.ofFiles(cleaned, content);
      notCleaned = cleaned.notCleaned;
    } catch (error) {
      if (!(error instanceof UnreadError)) throw error;
      why = error.message;
    }
    const chosen = new Chosen(archive, content, TEXTS.archive(archive.size, why), 1);
    return Object.assign(chosen, { notCleaned });
  }

  /** @param {Cleaned} cleaned @param {string} content @returns {Chosen} without files to send if all are left out */
  static ofFiles({ blobs, whole, left, notCleaned }, content) {
    const blob = tarOf(blobs);
    return Object.assign(new Chosen(blob, content, TEXTS.files(blobs.length, whole, blob.size), whole), { left, notCleaned, canBeSent: blobs.length > 0 });
  }
}

/** Files without those of the system, in the order of their paths. @template {{ path: string }} T @param {T[]} files */
function inOrder(files) {
  return files.filter(({ path }) => !HIDDEN.test(path)).sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/**
 * Files of a list. @param {FileList} list
 * @returns {{ file: File, path: string }[]}
 */
export function filesOfList(list) {
  return [...list].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/** @param {DataTransferItemList} items @returns {Promise<{ file: File, path: string }[]>} */
export async function filesOfDrop(items) {
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  return (await Promise.all(entries.map(filesIn))).flat();
}

/** What is sent, number of the files as they are, what is not sent, and what is not cleaned. @typedef {{ blobs: Blob[], whole: number, left: Listed[], notCleaned: Listed[] }} Cleaned */

/**
 * The files without names. If one of the DICOM files cannot be read here, all are sent as they are: pseudonyms and names
 * of one patient would look like two patients.
 * @param {{ file: Blob, path: string }[]} files @param {import("./identity.js").Identity} identity @param {(done: number, of: number) => void} report
 * @returns {Promise<Cleaned>} it has `notCleaned` if all are sent as they are
 */
async function namesRemoved(files, identity, report) {
  const [blobs, left, notCleaned, series] = [/** @type {Blob[]} */ ([]), /** @type {(Listed & { series: string })[]} */ ([]), /** @type {Listed[]} */ ([]), new Set()];
  let whole = 0;
  for (const [at, { file, path }] of files.entries()) {
    report(at, files.length);
    try {
      const cleaned = await withoutNames(file, identity);
      series.add(cleaned.series);
      blobs.push(cleaned.blob);
    } catch (error) {
      if (error instanceof LeftOutError) {
        left.push({ path, why: error.message, series: error.series });
        continue;
      }
      if (!(error instanceof UnreadError)) throw error;
      if (mayBeDicom(new Uint8Array(await file.slice(0, 132).arrayBuffer()))) {
        notCleaned.push({ path, why: error.message + (error.place && `: ${error.place}`) });
        if (!error.place) break;
        continue; // other series may have one, too
      }
      blobs.push(file);
      whole += 1;
    }
  }
  const listed = left.map(({ path, why, series: own }) => ({ path, why: own && series.has(own) ? TEXTS.leftOut.ofSeries(why) : why }));
  return { blobs, whole, left: listed, notCleaned };
}

/** @param {FileSystemEntry} entry @returns {Promise<{ file: File, path: string }[]>} */
async function filesIn(entry) {
  if (entry.isFile) {
    const one = /** @type {FileSystemFileEntry} */ (entry);
    const file = await new Promise((resolve, reject) => one.file(resolve, reject));
    return [{ file, path: entry.fullPath }];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const children = [];
  for (;;) { // a reader gives up to 100 entries at a time
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) break;
    children.push(...part);
  }
  return (await Promise.all(children.map(filesIn))).flat();
}
