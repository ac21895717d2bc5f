/** Colours of the three kinds, as in the reports; they differ in hue and lightness for all common colour deficiencies (after Okabe and Ito). */
export const COLOURS = { T2: [86, 180, 233], GEL: [255, 106, 19], BH: [224, 138, 192] };

/** @param {string} kind @param {number} alpha */
export function css(kind, alpha = 1) {
  const [r, g, b] = COLOURS[kind];
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}
