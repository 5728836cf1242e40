// In which order rows are shown.

const RANK = { critical: 0, warning: 1, info: 2 };

export const ORDERS = {
  newest: { words: "newest first", compare: null },
  reported: { words: "last report first", compare: byReport },
  severity: { words: "most severe first", compare: bySeverity },
};

/** Rows, newest first, in one of ORDERS. */
export function ordered(rows, order) {
  const { compare } = ORDERS[order];
  return compare ? [...rows].sort(compare) : rows;
}

/**
 * What an order depends on. Reports come all the time, and rows that jump under the pointer are of
 * no use: they are put in order anew when runs come and go.
 */
export function orderKey(rows, order) {
  const found = rows.map(({ run }) => (order === "severity" ? `${run.id} ${rank(run)}` : run.id));
  return [order, ...found].join();
}

function byReport(one, other) {
  return (other.run.last_report_at_s ?? 0) - (one.run.last_report_at_s ?? 0);
}

function bySeverity(one, other) {
  return rank(one.run) - rank(other.run);
}

function rank(run) {
  return RANK[run.verdicts[0]?.severity] ?? 3;
}
