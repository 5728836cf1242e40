// The page: the frame, and in it what the address asks for.

import { Announcements } from "./announce.js";
import { isLockedOut } from "./api.js";
import { html, render, useEffect, useLayoutEffect, useState } from "./dom.js";
import { keepFocusOnHeading } from "./focus.js";
import { ask, can, me, obstacle } from "./me.js";
import { place } from "./router.js";
import { Header } from "./shell.js";
import { useSignal } from "./signal.js";
import { TokenEntry } from "./token.js";

function App() {
  return html`
    <${Header} />
    <main id="main"><${Content} /></main>
    <${Announcements} />
  `;
}

function Content() {
  const who = useSignal(me);
  const isLocked = useSignal(isLockedOut);
  const problem = useSignal(obstacle);
  const at = useSignal(place);
  if (isLocked) return html`<${TokenEntry} problem=${problem} />`;
  if (!who) return problem && html`<${Away} problem=${problem} />`;
  if (!can("read")) return html`<${ReportsOnly} />`;
  // Another step of the same run is the same view; another run is not.
  return html`<${Shown} key=${`${at.view} ${at.params.id}`} at=${at} />`;
}

/** Where a reader had scrolled to, by the path they left. */
const scrolledTo = new Map();
history.scrollRestoration = "manual";
let isFirst = true;

function viewOf({ view }) {
  return view && import(`./views/${view}.js`);
}

/** A view, fetched when it is first asked for. */
function Shown({ at }) {
  const [loaded, setLoaded] = useState(null);
  useEffect(() => {
    viewOf(at)?.then(
      ({ View }) => setLoaded({ View }),
      (failure) => setLoaded({ failure }),
    );
  }, []);
  const isReady = loaded !== null || !at.view;
  useLayoutEffect(() => {
    if (!isReady) return undefined;
    // Who came by a link is told what it led to; who just opened the page begins at its top.
    const stop = isFirst ? () => {} : keepFocusOnHeading();
    isFirst = false;
    scrollTo(0, scrolledTo.get(at.path) ?? 0);
    const keep = () => scrolledTo.set(place.value.path, scrollY);
    addEventListener("scroll", keep, { passive: true });
    return () => {
      stop();
      removeEventListener("scroll", keep);
    };
  }, [isReady]);
  if (!at.view) return html`<${NoSuchPage} path=${at.path} />`;
  if (loaded?.failure) return html`<${Away} problem=${loaded.failure} mustReload />`;
  return loaded && html`<${loaded.View} params=${at.params} query=${at.query} />`;
}

function NoSuchPage({ path }) {
  return html`
    <h1>There is no such page</h1>
    <p><code>${path}</code> is no address of this page. <a href="#/">All runs</a></p>
  `;
}

function Away({ problem, mustReload = false }) {
  return html`
    <h1>The monitor cannot be asked</h1>
    <p class="notice" data-kind="problem" role="alert">${problem.message}</p>
    ${mustReload
      ? html`<button class="button" onClick=${() => location.reload()}>Load the page again</button>`
      : html`<p class="hint">Trying again every few seconds.</p>`}
  `;
}

function ReportsOnly() {
  const { name } = useSignal(me);
  return html`
    <h1>This token may not read</h1>
    <p>
      The token <b>${name}</b> is for a trainer: it delivers reports and sees nothing. Use one with
      the scope <code>read</code>, or <code>control</code> to change settings as well.
    </p>
    <${TokenEntry} isAnother />
  `;
}

ask();
// It takes a while, and so does the answer.
viewOf(place.value)?.catch(() => {});
render(html`<${App} />`, document.getElementById("app"));
