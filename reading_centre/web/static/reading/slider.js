/** The slice slider and, beside it, a tick for every lesion: undecided ones in the colour of their kind. */

import { css } from "./palette.js";
import { TEXTS } from "./texts.js";

export class Slider {
  /** @param {HTMLInputElement} input @param {HTMLCanvasElement} ticks @param {import("./desk.js").Desk} desk */
  constructor(input, ticks, desk) {
    Object.assign(this, { input, ticks, desk });
    input.addEventListener("input", () => desk.viewer.toSlice(Number(input.value)));
    ticks.addEventListener("click", (event) => desk.viewer.toSlice(this.sliceAt(event.offsetY)));
    desk.viewer.addEventListener("view", () => this.follow());
    desk.reading.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(ticks);
    this.tag = "";
    this.follow();
  }

  get count() {
    return this.desk.grid.shape[this.desk.viewer.view.axis];
  }

  sliceAt(y) {
    return Math.round((1 - y / this.ticks.clientHeight) * this.count - 0.5);
  }

  follow() {
    const { viewer } = this.desk;
    this.input.max = String(this.count - 1);
    this.input.value = String(viewer.slice);
    this.input.setAttribute("aria-valuetext", TEXTS.slice(viewer.slice + 1, this.count));
    const tag = `${viewer.view.axis}/${viewer.slice}`;
    if (tag !== this.tag) { this.tag = tag; this.draw(); }
  }

  draw() {
    const { ticks, desk } = this;
    const ratio = devicePixelRatio || 1;
    const width = Math.round(ticks.clientWidth * ratio);
    const height = Math.round(ticks.clientHeight * ratio);
    if (ticks.width !== width || ticks.height !== height) Object.assign(ticks, { width, height });
    const context = /** @type {CanvasRenderingContext2D} */ (ticks.getContext("2d"));
    context.clearRect(0, 0, width, height);
    const { axis } = desk.viewer.view;
    const kinds = desk.reading.info.kinds.map(({ id }) => id);
    const thickness = Math.max(height / this.count - ratio, 2 * ratio);
    const lane = width / kinds.length;
    const tick = (lesion, colour, share) => {
      const y = (1 - (lesion.centre[axis] + 0.5) / this.count) * height;
      context.fillStyle = colour;
      context.fillRect(kinds.indexOf(lesion.kind) * lane + (lane * (1 - share)) / 2, y - thickness / 2, lane * share, thickness);
    };
    const lesions = desk.reading.listed();
    lesions.filter((lesion) => !desk.reading.isUndecided(lesion)).forEach((lesion) => tick(lesion, "rgba(130, 140, 155, 0.55)", 0.4));
    lesions.filter((lesion) => desk.reading.isUndecided(lesion)).forEach((lesion) => tick(lesion, css(lesion.kind), 0.85));
    context.strokeStyle = getComputedStyle(ticks).color;
    context.lineWidth = 2 * ratio;
    const y = (1 - (desk.viewer.slice + 0.5) / this.count) * height;
    context.strokeRect(ratio, y - thickness / 2 - ratio, width - 2 * ratio, thickness + 2 * ratio);
  }
}
