/** Bytes of a file one after the other, as they are or inflated. Blobs may be kept outside the memory of the page. */

import { TEXTS } from "./texts.js";
import { UnreadError } from "./unread.js";

/** Inflated bytes that are in the memory of the page at once. */
const MOST_HELD = 8 * 1024 * 1024;

/** A file from its beginning. */
export class Slices {
  /** @param {Blob} blob */
  constructor(blob) {
    this.blob = blob;
    this.at = 0;
  }

  /** @param {number} size @returns {Promise<Blob>} */
  async take(size) {
    if (this.at + size > this.blob.size) throw new UnreadError(TEXTS.unread.damaged);
    this.at += size;
    return this.blob.slice(this.at - size, this.at);
  }

  /** @param {(chunk: Uint8Array) => void} seen called with all that is left */
  async rest(seen) {
    const left = await this.take(this.blob.size - this.at);
    await chunksOf(left.stream(), seen);
  }
}

/** A compressed file from its beginning. */
export class Inflated {
  /** @param {Blob} blob @param {CompressionFormat} format */
  constructor(blob, format) {
    this.reader = blob.stream().pipeThrough(new DecompressionStream(format)).getReader();
    this.left = new Uint8Array();
  }

  /** @returns {Promise<Uint8Array | null>} null at the end */
  async next() {
    if (this.left.length) {
      const { left } = this;
      this.left = new Uint8Array();
      return left;
    }
    const { done, value } = await read(this.reader);
    return done ? null : value;
  }

  /** @param {number} size @returns {Promise<Blob>} */
  async take(size) {
    /** @type {BlobPart[]} */
    const parts = [];
    let held = [];
    let holds = 0;
    for (let missing = size; missing > 0;) {
      const chunk = await this.next();
      if (!chunk) throw new UnreadError(TEXTS.unread.damaged);
      const part = chunk.subarray(0, missing);
      this.left = chunk.subarray(part.length);
      missing -= part.length;
      held.push(part);
      holds += part.length;
      if (holds >= MOST_HELD) { parts.push(new Blob(held)); held = []; holds = 0; }
    }
    return new Blob([...parts, ...held]);
  }

  /** @param {(chunk: Uint8Array) => void} seen called with all that is left */
  async rest(seen) {
    for (let chunk = await this.next(); chunk; chunk = await this.next()) seen(chunk);
  }
}

/** @param {ReadableStream<Uint8Array>} stream @param {(chunk: Uint8Array) => void} seen */
export async function chunksOf(stream, seen) {
  const reader = stream.getReader();
  for (let { done, value } = await read(reader); !done; { done, value } = await read(reader)) seen(value);
}

/** @param {ReadableStreamDefaultReader<Uint8Array>} reader @returns {Promise<any>} */
async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error instanceof DOMException) throw error; // the file was moved or may not be read
    throw new UnreadError(TEXTS.unread.damaged);
  }
}
