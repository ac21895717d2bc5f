/** All texts of the form for uploads, in one place. A translation replaces this file. */

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
/** @param {number} count */
const files = (count) => `${count} ${count === 1 ? "file" : "files"}`;

/** Names of other objects that scanners write. @type {Map<string, string>} */
const CLASSES = new Map([
  ["1.2.840.10008.5.1.4.1.1.7", "screenshot"], ["1.2.840.10008.5.1.4.1.1.7.4", "screenshot"], ["1.2.840.10008.5.1.4.1.1.66", "raw data"],
  ["1.2.840.10008.5.1.4.1.1.4.2", "spectroscopy"], ["1.2.840.10008.5.1.4.1.1.104.1", "PDF document"],
  ["1.2.840.10008.5.1.4.1.1.11.1", "presentation state"], ["1.2.840.10008.5.1.4.1.1.88.22", "report"],
  ["1.2.840.10008.5.1.4.1.1.88.59", "key object selection"], ["1.2.840.10008.5.1.4.1.1.2", "CT image"],
]);
/** Names of elements in which a person can write. @type {Map<number, string>} */
const ELEMENTS = new Map([
  [0x0008103e, "Series description"], [0x00181030, "Protocol name"], [0x00181020, "Software versions"], [0x00081010, "Station name"],
  [0x00081090, "Model"], [0x00080070, "Manufacturer"], [0x00180024, "Sequence name"], [0x00180010, "Contrast agent"],
  [0x00181250, "Receive coil"], [0x00181000, "Serial number of the scanner"], [0x00080008, "Image type"], [0x00180022, "Scan options"],
  [0x0020000d, "Study UID"], [0x0020000e, "Series UID"], [0x00080018, "Image UID"], [0x00200011, "Series number"],
]);

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
  /** @param {number} count @param {number} whole @param {number} size */
  files: (count, whole, size) => `${files(count)}, ${megabytes(size)}.` +
    (whole < count ? ` Names, birth dates and numbers were removed from ${files(count - whole)}. The pixels are not changed.` : ""),
  /** Why an object is not sent. */
  leftOut: {
    directory: "directory of a CD",
    burnedIn: "text within the image, by its header",
    /** @param {string} uid */
    class: (uid) => `no MR image, by its class (${CLASSES.get(uid) ?? uid})`,
    /** @param {string} modality */
    modality: (modality) => `no MR image, by its modality (${modality})`,
    /** @param {string} why */
    ofSeries: (why) => `${why}, but other images of its series are sent: it may be damaged`,
  },
  /** @param {number} count */
  left: (count) => `${files(count)} ${count === 1 ? "is" : "are"} not sent`,
  /** @param {number} count */
  notCleaned: (count) => `Names cannot be removed from any file, because of ${count === 1 ? "this file" : "these files"}`,
  /** @param {number} count @param {string} first */
  among: (count, first) => `${files(count)}, the first one ${first}`,
  /** An element and its series. @param {number} tag @param {string} series */
  place: (tag, series) => {
    const number = tag.toString(16).toUpperCase().padStart(8, "0");
    const name = ELEMENTS.get(tag);
    return `${name ? `${name} ` : ""}(${number.slice(0, 4)},${number.slice(4)})${series ? ` of series ${series}` : ""}`;
  },
  /** @param {number} count */
  whole: (count) => `${files(count)} ${count === 1 ? "is" : "are"} not cleaned in this browser: an archive that is not read here, no DICOM file, or DICOM of which one ` +
    `file cannot be read here or has patient data in a description, a number or a UID. I agree that ${count === 1 ? "it is" : "they are"} sent whole, an archive with the names of its files. ` +
    "Names, birth dates and numbers are removed from the headers at the reading centre, before anybody sees the images.",
  /** @param {number} received @param {number} size @param {boolean} interrupted */
  progress: (received, size, interrupted) =>
    `${(received / 1e6).toFixed(1)} of ${megabytes(size)}` +
    (interrupted ? ". The connection is interrupted; the upload goes on by itself." : ""),
};
