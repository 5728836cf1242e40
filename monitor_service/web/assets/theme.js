// Light or dark: as the system has it, or as the reader chose on this machine.

import { ofMachine } from "./memory.js";
import { signal } from "./signal.js";

const KEPT = "acr-theme";
export const THEMES = ["auto", "light", "dark"];

/** The choice: one of THEMES. */
export const theme = signal(THEMES.find((one) => one === ofMachine.read(KEPT)) ?? "auto");

const system = matchMedia("(prefers-color-scheme: dark)");

/** What that comes to: "light" or "dark". Whoever paints with `colour` paints anew with it. */
export const scheme = signal(resolved());

export function chooseTheme(choice) {
  ofMachine.keep(KEPT, choice === "auto" ? "" : choice);
  theme.set(choice);
  apply();
}

/** A colour of css/base.css as a canvas takes it: colour("mixed") is that of --mixed. */
export function colour(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);
system.addEventListener("change", apply);
apply();

function apply() {
  document.documentElement.style.colorScheme = theme.value === "auto" ? "" : theme.value;
  scheme.set(resolved());
}

function resolved() {
  if (theme.value !== "auto") return theme.value;
  return system.matches ? "dark" : "light";
}
