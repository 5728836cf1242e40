// Where the keyboard and the screen reader are.

/** Go to the heading of the view, past the frame. */
export function focusHeading() {
  const heading = document.querySelector("main h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

/**
 * The same for a view that is still being drawn, whose heading may come late or be replaced: until
 * the reader does something. Returns the way to stop.
 */
export function keepFocusOnHeading() {
  const ending = new AbortController();
  const observer = new MutationObserver(look);
  function look() {
    // What had the focus is no longer there.
    if (document.activeElement === document.body) focusHeading();
  }
  function stop() {
    observer.disconnect();
    ending.abort();
  }
  for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, stop, ending);
  observer.observe(document.querySelector("main"), { childList: true, subtree: true });
  document.activeElement.blur();
  look();
  return stop;
}
