import { html, render } from "./dom.js";

render(html`<p>ok</p>`, document.getElementById("app"));
