/** Outlines of labels in a slice, along the edges of the pixels. */

/**
 * Trace the outlines of all labels of a slice.
 * @param {Uint16Array} slice @param {number} width @param {number} height
 * @returns {Map<number, Path2D>} closed paths in pixel coordinates, by label
 */
export function outlines(slice, width, height) {
  /** @type {Map<number, Map<number, number[]>>} directed edges by label: start corner to end corners */
  const edges = new Map();
  const corners = width + 1;
  const add = (label, from, to) => {
    let starts = edges.get(label);
    if (!starts) { starts = new Map(); edges.set(label, starts); }
    const ends = starts.get(from);
    if (ends) ends.push(to);
    else starts.set(from, [to]);
  };
  for (let j = 0, at = 0; j < height; j += 1) {
    for (let i = 0; i < width; i += 1, at += 1) {
      const label = slice[at];
      if (label === 0) continue;
      const corner = j * corners + i;
      // clockwise on the screen, so that the label is on the right of each edge
      if (j === 0 || slice[at - width] !== label) add(label, corner, corner + 1);
      if (i === width - 1 || slice[at + 1] !== label) add(label, corner + 1, corner + corners + 1);
      if (j === height - 1 || slice[at + width] !== label) add(label, corner + corners + 1, corner + corners);
      if (i === 0 || slice[at - 1] !== label) add(label, corner + corners, corner);
    }
  }
  return new Map([...edges].map(([label, starts]) => [label, join(starts, corners)]));
}

/** Join directed edges to closed loops. @param {Map<number, number[]>} starts @param {number} corners in a row */
function join(starts, corners) {
  const path = new Path2D();
  for (const first of starts.keys()) {
    while (starts.get(first)?.length) {
      let at = first;
      let direction = 0;
      path.moveTo(at % corners, Math.floor(at / corners));
      do {
        const ends = /** @type {number[]} */ (starts.get(at));
        const next = /** @type {number} */ (ends.pop());
        if (next - at !== direction) path.lineTo(at % corners, Math.floor(at / corners));
        direction = next - at;
        at = next;
      } while (at !== first);
      path.closePath();
    }
  }
  return path;
}
