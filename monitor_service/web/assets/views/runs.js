// All runs: which of them learn, and which need somebody.

import { html, useMemo } from "../dom.js";
import { count, plural } from "../format.js";
import { me } from "../me.js";
import { useTitle } from "../router.js";
import { Beginning } from "../runs/beginning.js";
import { Chosen, chosen, MOST } from "../runs/chosen.js";
import { Filters } from "../runs/filters.js";
import { useListing } from "../runs/listing.js";
import { ordered, orderKey, ORDERS } from "../runs/order.js";
import { Row } from "../runs/row.js";
import { useSignal } from "../signal.js";

export function View({ query }) {
  const { q: [q] = [], state: [state] = [], order: [asked] = ["newest"], tag = [] } = query;
  const order = asked in ORDERS ? asked : "newest";
  const isLimited = Boolean(q || state || tag.length);
  const listing = useListing({ q, state, tag });
  const { rows, isCurrent, total, hasMore, problem } = listing;
  useTitle("");
  const isEmpty = rows?.length === 0;
  return html`
    <div class="toolbar">
      <h1>Runs</h1>
      <p class="hint" role="status">${isCurrent && !isEmpty && summary(listing, order)}</p>
    </div>
    ${(isLimited || (rows && !isEmpty)) &&
    html`<${Filters} q=${q} state=${state} tag=${tag} order=${order} />`}
    ${problem &&
    html`
      <p class="notice" data-kind="problem" role="alert">
        ${problem.message}${" "}
        <button class="button" onClick=${listing.refresh}>Try again</button>
      </p>
    `}
    ${rows && !isEmpty && html`<${Table} listing=${listing} order=${order} />`}
    ${isCurrent && isEmpty && (isLimited ? html`<${NoSuch} />` : html`<${Beginning} />`)}
    ${isCurrent &&
    hasMore &&
    html`<button class="button" onClick=${listing.more}>Load more of ${count(total)}</button>`}
    <${Chosen} />
  `;
}

function summary({ rows, total, hasMore }, order) {
  const runs = me.value?.runs ?? "*";
  const which = runs === "*" ? "" : `, those that this token is for: ${runs}`;
  if (!hasMore) return `${plural(total, "run")}${which}`;
  const among = order === "newest" ? "" : ", in order among themselves";
  return `the newest ${count(rows.length)} of ${plural(total, "run")}${which}${among}`;
}

function NoSuch() {
  return html`<p class="panel">No such runs. <a href="#/">Show all</a></p>`;
}

const COLUMNS = [
  ["Compare", "choice"],
  ["Run", "name"],
  ["State", "state"],
  ["Health", "health"],
  ["Step", "number"],
  ["ACR", "acr", "Share of groups without a learning signal: of the newest step, and of 60"],
  ["Reward", "number", "Mean of the newest step"],
  ["Last report", "number report"],
];

function Table({ listing, order }) {
  const { rows, isCurrent } = listing;
  const ids = useSignal(chosen);
  const sorted = useMemo(
    () => ordered(rows, order).map(({ run }) => run.id),
    [orderKey(rows, order)],
  );
  const byId = new Map(rows.map((row) => [row.run.id, row]));
  // Chromium forgets what a table is when its parts are laid out as cards: hence the roles.
  return html`
    <table class="data runs" role="table" aria-label="Runs" aria-busy=${!isCurrent}>
      <thead role="rowgroup">
        <tr role="row">
          ${COLUMNS.map(
            ([name, kind, about]) => html`
              <th key=${name} role="columnheader" scope="col" class=${kind} title=${about}>
                <span class=${kind === "choice" ? "unseen" : null}>${name}</span>
              </th>
            `,
          )}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${sorted.map(
          (id) => html`
            <${Row}
              key=${id}
              row=${byId.get(id)}
              isChosen=${ids.includes(id)}
              mayChoose=${ids.length < MOST}
              listing=${listing}
            />
          `,
        )}
      </tbody>
    </table>
  `;
}
