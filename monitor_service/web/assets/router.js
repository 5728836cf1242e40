// Which view the address asks for, by what stands behind its `#`: `#/runs/demo?from=1&to=500`.

import { useEffect } from "./dom.js";
import { signal } from "./signal.js";

const TITLE = "ACR monitor";
const VIEWS = [
  ["runs", /^\/(?:runs\/?)?$/],
  ["run", /^\/runs\/(?<id>[^/]+)$/],
  ["groups", /^\/runs\/(?<id>[^/]+)\/steps\/(?<step>[^/]+)$/],
  ["compare", /^\/compare$/],
];

/**
 * Where the reader is: `path`, the `view` of it (null: there is none such) with its `params`, and
 * `query`, an array of values by name.
 */
export const place = signal(read());

addEventListener("hashchange", () => place.set(read()));

/** A link: link(["runs", id], {from: 1}) is "#/runs/ID?from=1". Null leaves a parameter out. */
export function link(parts, query = {}) {
  return `#/${parts.map(encodeURIComponent).join("/")}${written(query)}`;
}

/** Go to a link. */
export function go(to) {
  location.hash = to;
}

/** Other parameters for the view that is shown, which is not left; no step of "back" by itself. */
export function revise(changes) {
  const { path, query } = place.value;
  history.replaceState(history.state, "", `#${path}${written({ ...query, ...changes })}`);
  place.set(read());
}

function written(query) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) {
      if (one !== null && one !== undefined && one !== "") search.append(name, one);
    }
  }
  return search.size ? `?${search}` : "";
}

/** What the tab is called while a component is there. */
export function useTitle(title) {
  useEffect(() => {
    document.title = title ? `${title} · ${TITLE}` : TITLE;
  }, [title]);
}

function read() {
  const [path, search = ""] = (location.hash.slice(1) || "/").split(/\?(.*)/s);
  const query = {};
  for (const [name, value] of new URLSearchParams(search)) (query[name] ??= []).push(value);
  for (const [view, pattern] of VIEWS) {
    const found = pattern.exec(path);
    if (found) return { path, view, params: decoded(found.groups), query };
  }
  return { path, view: null, params: {}, query };
}

function decoded(groups = {}) {
  try {
    return Object.fromEntries(
      Object.entries(groups).map(([name, part]) => [name, decodeURIComponent(part)]),
    );
  } catch {
    // No id that the monitor knows is written like that; it will say so.
    return groups;
  }
}
