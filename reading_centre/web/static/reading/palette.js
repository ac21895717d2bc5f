/** Colours of the three kinds; they differ in hue and lightness for all common colour deficiencies (after Okabe and Ito). */
export const COLOURS = { T2: [245, 184, 0], GEL: [76, 181, 245], BH: [236, 130, 190] };

/** @param {string} kind @param {number} alpha */
export function css(kind, alpha = 1) {
  const [r, g, b] = COLOURS[kind];
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}
