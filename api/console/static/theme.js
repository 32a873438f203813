// The reader's choice of colours: light, dark, or what the system says.
import { effect, signal } from "./vendor.js";

const KEY = "octollm-theme";

/** @typedef {"system" | "light" | "dark"} Theme */

/** @type {Theme[]} */
export const THEMES = ["system", "light", "dark"];

/** @type {import("./vendor.js").Signal<Theme>} */
export const theme = signal(stored());

effect(() => {
  const root = document.documentElement;
  if (theme.value === "system") delete root.dataset.theme;
  else root.dataset.theme = theme.value;
});

/** @param {Theme} chosen */
export function chooseTheme(chosen) {
  theme.value = chosen;
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // a browser that stores nothing: the choice lasts as long as the page
  }
}

/** @returns {Theme} */
function stored() {
  try {
    const found = localStorage.getItem(KEY);
    return THEMES.find((name) => name === found) ?? "system";
  } catch {
    return "system";
  }
}
