// A value that several parts of the page look at.

import { useEffect, useState } from "./dom.js";

/** A value; `set` tells all who `watch`, and `watch` returns the way to stop. */
export function signal(value) {
  const watchers = new Set();
  return {
    get value() {
      return value;
    },
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const watcher of [...watchers]) watcher(value);
    },
    watch(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
}

/** The value, for a component that is drawn anew when it changes. */
export function useSignal(one) {
  const [value, setValue] = useState(one.value);
  useEffect(() => {
    setValue(one.value);
    return one.watch(setValue);
  }, [one]);
  return value;
}
