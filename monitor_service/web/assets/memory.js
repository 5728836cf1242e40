// What a browser keeps for the page. One that keeps nothing forgets it with the page.

/** Of this tab; "" for what is not there. */
export const ofTab = memory(() => sessionStorage);

/** Of this machine. */
export const ofMachine = memory(() => localStorage);

function memory(storage) {
  let kept;
  try {
    kept = storage();
  } catch {
    // The reader forbids it.
    const values = new Map();
    kept = {
      getItem: (name) => values.get(name),
      setItem: (name, text) => values.set(name, text),
      removeItem: (name) => values.delete(name),
    };
  }
  return {
    read: (name) => kept.getItem(name) ?? "",
    keep: (name, text) => (text ? kept.setItem(name, text) : kept.removeItem(name)),
  };
}
