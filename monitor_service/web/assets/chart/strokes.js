// Lines that can be told apart, also without colour: names of colours in css/base.css, with dashes.

export const STROKES = [
  { colour: "raw", dash: [] },
  { colour: "correct", dash: [8, 4] },
  { colour: "wrong", dash: [2, 3] },
  { colour: "mixed", dash: [9, 3, 2, 3] },
  { colour: "threshold", dash: [4, 2] },
  { colour: "other", dash: [14, 3] },
  { colour: "critical", dash: [1, 2] },
  { colour: "unscored", dash: [6, 2, 1, 2, 1, 2] },
];
