// The same groups as a table, some at a time: for who does not see the map, and to copy from.

import { html, useState } from "../dom.js";
import { count, figure, NOTHING } from "../format.js";
import { OUTCOMES } from "./heatmap.js";

const SOME_ROWS = 100;

export function GroupTable({ rows }) {
  const [isOpen, setIsOpen] = useState(false);
  const [most, setMost] = useState(SOME_ROWS);
  return html`
    <details open=${isOpen} onToggle=${(event) => setIsOpen(event.target.open)}>
      <summary>As a table</summary>
      ${isOpen &&
      html`
        <div class="scrolls" tabindex="0" role="region" aria-label="Groups as a table">
          <table class="data">
            <thead>
              <tr>
                <th scope="col" class="number">Group</th>
                <th scope="col">Outcome</th>
                <th scope="col" class="number">Scored</th>
                <th scope="col" class="number">Mean</th>
                <th scope="col" class="number">Deviation</th>
                <th scope="col">Rewards</th>
              </tr>
            </thead>
            <tbody>
              ${rows.slice(0, most).map(
                ({ number, outcome, scored, mean, std, rewards }) => html`
                  <tr key=${number}>
                    <th scope="row" class="number">${number}</th>
                    <td>${OUTCOMES[outcome]}</td>
                    <td class="number">${scored}</td>
                    <td class="number">${figure(mean)}</td>
                    <td class="number">${figure(std)}</td>
                    <td>${rewards.map((one) => (one === null ? NOTHING : figure(one))).join("  ")}</td>
                  </tr>
                `,
              )}
            </tbody>
          </table>
        </div>
        ${most < rows.length &&
        html`
          <button type="button" class="button" onClick=${() => setMost(most + SOME_ROWS)}>
            More of ${count(rows.length)}
          </button>
        `}
      `}
    </details>
  `;
}
