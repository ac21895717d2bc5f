/** Sets of voxels: brush, polygon, and runs of them. */

/**
 * Voxels of a round brush; the voxel at the centre always belongs to it.
 * @param {import("./geometry.js").Grid} grid @param {import("./geometry.js").Plane} plane
 * @param {[number, number]} pixel centre, in pixels with fractions @param {number} slice
 * @param {number} diameter in mm @param {boolean} threeD a ball in place of a disc
 * @returns {number[]} indices
 */
export function brush(grid, plane, pixel, slice, diameter, threeD) {
  const [du, dv] = grid.pixelMm(plane);
  const dw = grid.spacing[plane.axis];
  const radius = diameter / 2;
  const reach = threeD ? Math.floor(radius / dw) : 0;
  const centre = [Math.floor(pixel[0]), Math.floor(pixel[1])];
  const found = [];
  for (let k = -reach; k <= reach; k += 1) {
    const inSlice = radius * radius - (k * dw) ** 2;
    for (let j = Math.floor(pixel[1] - radius / dv); j <= pixel[1] + radius / dv; j += 1) {
      for (let i = Math.floor(pixel[0] - radius / du); i <= pixel[0] + radius / du; i += 1) {
        const mm2 = ((i + 0.5 - pixel[0]) * du) ** 2 + ((j + 0.5 - pixel[1]) * dv) ** 2;
        const isCentre = k === 0 && i === centre[0] && j === centre[1];
        if (mm2 > inSlice && !isCentre) continue;
        const voxel = grid.toVoxel(plane, i, j, slice + k);
        if (grid.contains(voxel)) found.push(grid.index(voxel));
      }
    }
  }
  return found;
}

/** Points from one pixel to another, close enough for an unbroken stroke. @returns {[number, number][]} */
export function between(from, to, step) {
  const count = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / step));
  return Array.from({ length: count }, (_, at) => [from[0] + ((to[0] - from[0]) * (at + 1)) / count, from[1] + ((to[1] - from[1]) * (at + 1)) / count]);
}

/**
 * Voxels whose centres lie in a polygon (even-odd rule).
 * @param {import("./geometry.js").Grid} grid @param {import("./geometry.js").Plane} plane @param {[number, number][]} corners in pixels @param {number} slice
 * @returns {number[]} indices
 */
export function polygon(grid, plane, corners, slice) {
  const [, height] = grid.planeSize(plane);
  const found = [];
  for (let j = 0; j < height; j += 1) {
    const y = j + 0.5;
    const crossings = [];
    corners.forEach(([x1, y1], at) => {
      const [x2, y2] = corners[(at + 1) % corners.length];
      if (y1 <= y !== y2 <= y) crossings.push(x1 + ((y - y1) / (y2 - y1)) * (x2 - x1));
    });
    crossings.sort((a, b) => a - b);
    for (let at = 0; at + 1 < crossings.length; at += 2) {
      for (let i = Math.ceil(crossings[at] - 0.5); i + 0.5 <= crossings[at + 1]; i += 1) {
        const voxel = grid.toVoxel(plane, i, j, slice);
        if (grid.contains(voxel)) found.push(grid.index(voxel));
      }
    }
  }
  return found;
}

/**
 * Runs of equal changes, within one row of voxels each.
 * @param {Map<number, number>} before old label of each voxel, by index @param {number} label new label @param {number} row length of a row
 * @returns {import("./reading.js").Run[]}
 */
export function runsOf(before, label, row) {
  const runs = [];
  for (const [index, old] of [...before].sort((a, b) => a[0] - b[0])) {
    const last = runs[runs.length - 1];
    if (last && last[0] + last[1] === index && last[2] === old && index % row !== 0) last[1] += 1;
    else runs.push([index, 1, old, label]);
  }
  return runs;
}

/** Most frequent label other than 0, or 0. @param {Uint16Array} labels @param {number[]} voxels */
export function mainLabel(labels, voxels) {
  const counts = new Map();
  for (const at of voxels) if (labels[at]) counts.set(labels[at], (counts.get(labels[at]) ?? 0) + 1);
  return [...counts].reduce((best, item) => (item[1] > best[1] ? item : best), [0, 0])[0];
}
