// What frames every view: title, ways to go, the connection, the theme, and who the reader is.

import { announce } from "./announce.js";
import { connection } from "./connection.js";
import { html, useEffect, useRef } from "./dom.js";
import { focusHeading } from "./focus.js";
import { become, can, me } from "./me.js";
import { place } from "./router.js";
import { useSignal } from "./signal.js";
import { chooseTheme, theme, THEMES } from "./theme.js";

export function Header() {
  const { view } = useSignal(place);
  const current = (name) => (name === view ? "page" : undefined);
  return html`
    <header class="top">
      <button class="skip" onClick=${focusHeading}>Skip to the content</button>
      <a class="brand" href="#/">
        <img src="/assets/icon.svg" alt="" width="20" height="20" /><span>ACR monitor</span>
      </a>
      <nav aria-label="Views">
        <a href="#/" aria-current=${current("runs")}>Runs</a>
        <a href="#/compare" aria-current=${current("compare")}>Compare</a>
      </nav>
      <${Connection} />
      <${Reader} />
      <${Theme} />
    </header>
  `;
}

const WORDS = {
  live: ["live", "What happens shows at once"],
  lost: ["reconnecting …", "The connection to the monitor is lost; trying again"],
  over: ["not live", "What is shown does not move any more: load the page again"],
};

function Connection() {
  const state = useSignal(connection);
  const before = useRef(null);
  useEffect(() => {
    if (state === "lost") announce("The connection to the monitor is lost. Trying again.");
    if (state === "live" && before.current === "lost") announce("Connected again.");
    if (state !== null) before.current = state;
  }, [state]);
  if (!state) return html`<span class="connection"></span>`;
  const [word, about] = WORDS[state];
  return html`<span class="connection" data-state=${state} title=${about}>${word}</span>`;
}

const RIGHTS = [
  ["control", "may change settings"],
  ["read", "read-only"],
  ["report", "only reports"],
];

function Reader() {
  const who = useSignal(me);
  if (!who) return null;
  if (!who.is_token_needed) {
    const about = "Whoever reaches this monitor may do everything";
    return html`<span class="reader hint open" title=${about}>no token needed</span>`;
  }
  const rights = RIGHTS.find(([scope]) => can(scope))?.[1];
  const runs = who.runs === "*" ? "" : `, runs ${who.runs}`;
  return html`
    <span class="reader">
      <span title="The token in use">
        ${who.name}<span class="hint"> · ${rights}${runs}</span>
      </span>
      <button class="button quiet" onClick=${() => become("")}>Forget token</button>
    </span>
  `;
}

const GLYPHS = { auto: "◐", light: "☀\ufe0e", dark: "☾\ufe0e" };

function Theme() {
  const chosen = useSignal(theme);
  return html`
    <select
      class="theme"
      aria-label="Theme"
      value=${chosen}
      onChange=${(event) => chooseTheme(event.target.value)}
    >
      ${THEMES.map((one) => html`<option key=${one} value=${one}>${GLYPHS[one]} ${one}</option>`)}
    </select>
  `;
}
