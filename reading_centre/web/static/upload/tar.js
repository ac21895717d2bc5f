/** Files as one tar archive (POSIX ustar), without their names. The browser reads them when they are sent. */

const BLOCK = 512;
const TEXT = new TextEncoder();

/** @param {Uint8Array} header @param {number} at @param {string} text */
function put(header, at, text) {
  header.set(TEXT.encode(text), at);
}

/** @param {number} value @param {number} digits */
function octal(value, digits) {
  return value.toString(8).padStart(digits, "0");
}

/** @param {string} name @param {number} size @returns {Uint8Array<ArrayBuffer>} */
export function tarHeader(name, size) {
  const header = new Uint8Array(BLOCK);
  put(header, 0, name);
  put(header, 100, "0000600\0");
  put(header, 108, "0000000\0");
  put(header, 116, "0000000\0");
  put(header, 124, `${octal(size, 11)}\0`);
  put(header, 136, `${octal(0, 11)}\0`);
  put(header, 148, "        "); // the checksum counts as spaces
  put(header, 156, "0");
  put(header, 257, "ustar\0" + "00");
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(header, 148, `${octal(sum, 6)}\0 `);
  return header;
}

/**
 * Equal files in equal order give equal bytes.
 * @param {Blob[]} files @returns {Blob}
 */
export function tarOf(files) {
  /** @type {BlobPart[]} */
  const parts = [];
  files.forEach((file, index) => {
    parts.push(tarHeader(`scans/${String(index).padStart(6, "0")}`, file.size), file);
    const rest = file.size % BLOCK;
    if (rest) parts.push(new Uint8Array(BLOCK - rest));
  });
  parts.push(new Uint8Array(2 * BLOCK));
  return new Blob(parts);
}
