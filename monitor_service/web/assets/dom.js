// Elements as templates: html`<p>${text}</p>`. Text is text: nothing put in is read as HTML.

import { h, render } from "preact";
import htm from "htm";

export { render };
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

export const html = htm.bind(h);
