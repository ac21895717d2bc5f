/** All texts of the form for uploads, in one place. A translation replaces this file. */

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
/** @param {number} count */
const files = (count) => `${count} ${count === 1 ? "file" : "files"}`;

export const TEXTS = {
  nothing: "Nothing is chosen.",
  empty: "There is no file to send, or only screenshots, documents and other objects than MR images. Choose a folder or an archive.",
  /** @param {number} done @param {number} of */
  reading: (done, of) => `Removing names, birth dates and numbers: ${done} of ${of} files …`,
  other: "These are other files than those of this upload. Choose the same files again.",
  insecure: "Uploads need a connection with TLS (https). Ask the reading centre for the address.",
  gone: "The files cannot be read any more. Choose them again.",
  /** @param {number} size */
  archive: (size) => `1 archive, ${megabytes(size)}`,
  /** @param {number} count @param {number} whole @param {number} leftOut @param {number} size */
  files: (count, whole, leftOut, size) => `${files(count)}, ${megabytes(size)}.` +
    (whole < count ? ` Names, birth dates and numbers were removed from ${files(count - whole)}. The pixels are not changed.` : "") +
    (leftOut ? ` ${files(leftOut)} ${leftOut === 1 ? "is" : "are"} not sent: a screenshot, a document, an image with text in it by its header, ` +
      "or another object than an MR image." : ""),
  /** @param {number} count */
  whole: (count) => `${files(count)} ${count === 1 ? "is" : "are"} not cleaned in this browser: an archive, no DICOM file, or DICOM of which one ` +
    `file cannot be read here or has patient data in a description, a number or a UID. I agree that ${count === 1 ? "it is" : "they are"} sent whole. ` +
    "Names, birth dates and numbers are removed from the headers at the reading centre, before anybody sees the images.",
  /** @param {number} received @param {number} size @param {boolean} interrupted */
  progress: (received, size, interrupted) =>
    `${(received / 1e6).toFixed(1)} of ${megabytes(size)}` +
    (interrupted ? ". The connection is interrupted; the upload goes on by itself." : ""),
};
