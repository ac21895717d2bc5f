/** Files that a person has chosen or dropped: a folder becomes one tar archive, an archive stays as it is. */

import { tarOf } from "./tar.js";

const ARCHIVE = /\.(zip|tar|tgz|tar\.gz)$/i;
const HIDDEN = /(^|\/)(\.|__MACOSX|Thumbs\.db$|desktop\.ini$)/i;

/** What is sent. */
export class Chosen {
  /** @param {Blob} blob @param {string} content digest by which the same files are known again @param {string} text */
  constructor(blob, content, text) {
    this.blob = blob;
    this.content = content;
    this.text = text;
  }

  /**
   * @param {{ file: File, path: string }[]} found
   * @returns {Promise<Chosen | null>} null if there is nothing to send
   */
  static async of(found) {
    const files = found.filter(({ path }) => !HIDDEN.test(path)).sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
    if (!files.length) return null;
    const facts = files.map(({ file }) => [file.size, file.lastModified]);
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(facts)));
    const content = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const alone = files.length === 1 && ARCHIVE.test(files[0].file.name);
    const blob = alone ? files[0].file : tarOf(files.map(({ file }) => file));
    const size = `${(blob.size / 1e6).toFixed(1)} MB`;
    return new Chosen(blob, content, alone ? `1 archive, ${size}` : `${files.length} ${files.length === 1 ? "file" : "files"}, ${size}`);
  }

  /** @param {FileList} list */
  static ofList(list) {
    return Chosen.of([...list].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
  }

  /** @param {DataTransferItemList} items */
  static async ofDrop(items) {
    const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
    return Chosen.of((await Promise.all(entries.map(filesIn))).flat());
  }
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
