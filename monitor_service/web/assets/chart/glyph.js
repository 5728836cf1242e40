// What stands for what on a chart: the shape of a mark, the name of its colour, and its words.

const GLYPHS = {
  change: { sign: "◆", colour: "threshold", words: "settings changed", draw: diamond },
  kill: { sign: "✖", colour: "critical", words: "killed or re-armed", draw: cross },
  alarm: { sign: "▲", colour: "warning", words: "alarm raised", draw: triangle },
  resumed: { sign: "▮", colour: "muted", words: "new attempt", draw: bar },
};

export function glyph(kind) {
  return GLYPHS[kind];
}

function diamond(ctx, x, y, size) {
  polygon(ctx, [x, y - size], [x + size, y], [x, y + size], [x - size, y]);
}

function triangle(ctx, x, y, size) {
  polygon(ctx, [x, y - size], [x + size, y + size], [x - size, y + size]);
}

function bar(ctx, x, y, size) {
  ctx.fillRect(x - size / 3, y - size, (2 * size) / 3, 2 * size);
}

function cross(ctx, x, y, size) {
  const arm = size / 3;
  ctx.save();
  ctx.translate(x, y);
  ctx.rotate(Math.PI / 4);
  ctx.fillRect(-size, -arm, 2 * size, 2 * arm);
  ctx.fillRect(-arm, -size, 2 * arm, 2 * size);
  ctx.restore();
}

function polygon(ctx, start, ...others) {
  ctx.beginPath();
  ctx.moveTo(...start);
  for (const corner of others) ctx.lineTo(...corner);
  ctx.closePath();
  ctx.fill();
}
