/**
 * Planes of a volume and their radiological display. Arrays are RAS: x grows to the patient's right, y to anterior,
 * z to superior; index = x + nx * (y + ny * z). Both screen axes run against the voxel axes, so the patient's right is
 * on the left of the screen, anterior (or superior) at the top, and anterior on the left of sagittal slices.
 *
 * @typedef {[number, number, number]} Triple
 * @typedef {{axis: number, u: number, v: number, left: string, right: string, top: string, bottom: string}} Plane
 */

/** @type {Plane[]} */
export const PLANES = [
  { axis: 0, u: 1, v: 2, left: "A", right: "P", top: "S", bottom: "I" },
  { axis: 1, u: 0, v: 2, left: "R", right: "L", top: "S", bottom: "I" },
  { axis: 2, u: 0, v: 1, left: "R", right: "L", top: "A", bottom: "P" },
];

/** Voxel grid of a case. */
export class Grid {
  /** @param {Triple} shape @param {Triple} spacing in mm */
  constructor(shape, spacing) {
    this.shape = shape;
    this.spacing = spacing;
    this.strides = [1, shape[0], shape[0] * shape[1]];
    this.size = shape[0] * shape[1] * shape[2];
    this.voxelMm3 = spacing[0] * spacing[1] * spacing[2];
  }

  /** @param {Triple} c @returns {number} */
  index(c) {
    return c[0] + this.shape[0] * (c[1] + this.shape[1] * c[2]);
  }

  /** @param {number} index @returns {Triple} */
  voxel(index) {
    const [nx, ny] = this.shape;
    return [index % nx, Math.floor(index / nx) % ny, Math.floor(index / (nx * ny))];
  }

  /** @param {Triple} c */
  contains(c) {
    return c.every((value, axis) => value >= 0 && value < this.shape[axis]);
  }

  /** @param {Triple} c @returns {Triple} */
  clamp(c) {
    return /** @type {Triple} */ (c.map((value, axis) => Math.min(Math.max(value, 0), this.shape[axis] - 1)));
  }

  /** Width and height of a plane in pixels. @param {Plane} plane */
  planeSize(plane) {
    return [this.shape[plane.u], this.shape[plane.v]];
  }

  /** Width and height of a plane's pixel in mm. @param {Plane} plane */
  pixelMm(plane) {
    return [this.spacing[plane.u], this.spacing[plane.v]];
  }

  /** Pixel of a voxel in its plane. @param {Plane} plane @param {Triple} c @returns {[number, number]} */
  toPixel(plane, c) {
    return [this.shape[plane.u] - 1 - c[plane.u], this.shape[plane.v] - 1 - c[plane.v]];
  }

  /** Voxel of a pixel, inside or outside of the grid. @param {Plane} plane @returns {Triple} */
  toVoxel(plane, i, j, slice) {
    const c = /** @type {Triple} */ ([0, 0, 0]);
    c[plane.axis] = slice;
    c[plane.u] = this.shape[plane.u] - 1 - i;
    c[plane.v] = this.shape[plane.v] - 1 - j;
    return c;
  }

  /**
   * Copy one slice of a volume in screen order.
   * @param {Uint16Array} volume @param {Plane} plane @param {number} slice @param {Uint16Array} out
   */
  slice(volume, plane, slice, out) {
    const [width, height] = this.planeSize(plane);
    const su = this.strides[plane.u];
    const sv = this.strides[plane.v];
    let start = slice * this.strides[plane.axis] + (width - 1) * su + (height - 1) * sv;
    let k = 0;
    for (let j = 0; j < height; j += 1, start -= sv) {
      for (let i = 0, at = start; i < width; i += 1, at -= su, k += 1) out[k] = volume[at];
    }
  }
}

/**
 * Transform from pixels of a plane to the screen of a pane.
 * @param {Grid} grid @param {Plane} plane @param {{zoom: number, pan: [number, number]}} view pan in mm
 * @param {number} width of the pane @param {number} height
 */
export function screenTransform(grid, plane, view, width, height) {
  const [nu, nv] = grid.planeSize(plane);
  const [du, dv] = grid.pixelMm(plane);
  const scale = Math.min(width / (nu * du), height / (nv * dv)) * view.zoom;
  const a = scale * du;
  const d = scale * dv;
  return { a, d, e: width / 2 - scale * ((nu * du) / 2 + view.pan[0]), f: height / 2 - scale * ((nv * dv) / 2 + view.pan[1]), scale };
}
