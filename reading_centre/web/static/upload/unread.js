/** A file that is no DICOM file, or one whose names cannot be removed here. */
export class UnreadError extends Error {
  /** @param {string} message @param {string} place element and series with the fault; empty if it is of the whole file */
  constructor(message, place = "") {
    super(message);
    this.place = place;
  }
}

/** An object that is not sent, because the reading centre does not use it. */
export class LeftOutError extends Error {
  /** @param {string} message why @param {string} series UID of its series */
  constructor(message, series) {
    super(message);
    this.series = series;
  }
}
