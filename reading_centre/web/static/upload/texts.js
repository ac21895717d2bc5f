/** All texts of the form for uploads, in one place. A translation replaces this file. */

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
/** @param {number} count */
const files = (count) => `${count} ${count === 1 ? "file" : "files"}`;

export const TEXTS = {
  nothing: "Nothing is chosen.",
  empty: "There is no file to send, or only screenshots, documents and other objects than MR images. Choose a folder or an archive.",
  /** @param {number} done @param {number} of */
  reading: (done, of) => `Removing names, birth dates and numbers: ${of ? `${done} of ${of}` : done} files …`,
  other: "These are other files than those of this upload. Choose the same files again.",
  insecure: "Uploads need a connection with TLS (https). Ask the reading centre for the address.",
  gone: "The files cannot be read any more. Choose them again.",
  /** @param {number} size @param {string} why */
  archive: (size, why) => `1 archive, ${megabytes(size)}. Names are not removed from it in this browser: ${why}. Choose its folder if you can.`,
  unread: {
    encrypted: "it has a password",
    damaged: "it is damaged or incomplete",
    method: "it is compressed in a way that is not read here",
    special: "it has links or other things than files",
    large: "it has too many or too large files",
    nested: "it has another archive in it",
    paths: "it has paths that lead out of it",
    empty: "it has no files",
    dicom: "a DICOM file in it cannot be read here or has patient data in a description",
  },
  /** @param {number} count @param {number} whole @param {number} leftOut @param {number} size */
  files: (count, whole, leftOut, size) => `${files(count)}, ${megabytes(size)}.` +
    (whole < count ? ` Names, birth dates and numbers were removed from ${files(count - whole)}. The pixels are not changed.` : "") +
    (leftOut ? ` ${files(leftOut)} ${leftOut === 1 ? "is" : "are"} not sent: a screenshot, a document, an image with text in it by its header, ` +
      "or another object than an MR image." : ""),
  /** @param {number} count */
  whole: (count) => `${files(count)} ${count === 1 ? "is" : "are"} not cleaned in this browser: an archive that is not read here, no DICOM file, or DICOM of which one ` +
    `file cannot be read here or has patient data in a description, a number or a UID. I agree that ${count === 1 ? "it is" : "they are"} sent whole, an archive with the names of its files. ` +
    "Names, birth dates and numbers are removed from the headers at the reading centre, before anybody sees the images.",
  /** @param {number} received @param {number} size @param {boolean} interrupted */
  progress: (received, size, interrupted) =>
    `${(received / 1e6).toFixed(1)} of ${megabytes(size)}` +
    (interrupted ? ". The connection is interrupted; the upload goes on by itself." : ""),
};
