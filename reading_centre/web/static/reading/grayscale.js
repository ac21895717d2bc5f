/**
 * Grey scales. All visits of a contrast share one window, so equal intensities look equal.
 *
 * @typedef {[number, number]} Range
 */

/** Windows as shares of the standard window. @type {Record<string, Range>} */
export const PRESETS = { standard: [0, 1], narrow: [0.2, 0.8], wide: [-0.1, 1.5], bright: [0.35, 1.15], dark: [0, 0.65] };

/** Contrast of a pane: `previous_flair` shares the scale of `flair`. @param {string} pane */
export function contrastOf(pane) {
  return pane.replace(/^(previous|read_[AB])_/, "");
}

/** Window of one contrast with its look-up table from uint16 to RGBA. */
export class GreyScale {
  /** @param {Range} standard window that the server proposes */
  constructor(standard) {
    this.standard = standard;
    this.table = new Uint32Array(65536);
    this.version = 0;
    this.preset = "standard";
    this.set(standard, "standard");
  }

  /** @param {Range} range @param {string} preset */
  set([low, high], preset) {
    this.low = low;
    this.high = Math.max(high, low + 1);
    this.preset = preset;
    const factor = 255 / (this.high - this.low);
    for (let value = 0; value < 65536; value += 1) {
      const grey = Math.min(Math.max(Math.round((value - this.low) * factor), 0), 255);
      this.table[value] = (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
    }
    this.version += 1;
  }

  /** @param {string} name */
  usePreset(name) {
    const [low, high] = this.standard;
    const [from, to] = PRESETS[name];
    this.set([low + from * (high - low), low + to * (high - low)], name);
  }

  /** Move the level and scale the width. @param {number} level share of the width @param {number} width factor */
  adjust(level, width) {
    const half = ((this.high - this.low) / 2) * width;
    const centre = (this.high + this.low) / 2 + level * (this.high - this.low);
    this.set([centre - half, centre + half], "own");
  }
}
