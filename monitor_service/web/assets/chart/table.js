// The same as a table: the newest bins, for who wants numbers or does not see the picture.

import { html, useState } from "../dom.js";
import { count, percent } from "../format.js";
import { value } from "./words.js";

const MOST_ROWS = 50;

export function Table({ title, spec }) {
  const [isOpen, setIsOpen] = useState(false);
  return html`
    <details class="numbers" onToggle=${(event) => setIsOpen(event.target.open)}>
      <summary>Table<span class="unseen"> of ${title}</span></summary>
      ${isOpen && html`<${Rows} title=${title} spec=${spec} />`}
    </details>
  `;
}

function Rows({ title, spec: { data, lines, stack = [], format } }) {
  const first = Math.max(0, data.to.length - MOST_ROWS);
  const places = data.to.slice(first).map((_, at) => first + at);
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="Table of ${title}">
      <table>
        <caption class="unseen">${title}, the newest first</caption>
        <thead>
          <tr>
            <th scope="col">Step</th>
            ${[...lines, ...stack].map(({ label }) => html`<th scope="col" key=${label}>${label}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${places.reverse().map(
            (at) => html`
              <tr key=${data.from[at]}>
                <th scope="row">${span(data, at)}</th>
                ${lines.map((line) => html`<td key=${line.label}>${value(line, at, format)}</td>`)}
                ${stack.map(({ label, share }) => html`<td key=${label}>${percent(share[at])}</td>`)}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

function span({ from, to }, at) {
  return from[at] === to[at] ? count(to[at]) : `${count(from[at])} to ${count(to[at])}`;
}
