// Light or dark: what the person chose here before, else what their system asks for.
"use strict";

function setTheme(dark) {
  document.documentElement.dataset.bsTheme = dark ? "dark" : "light";
  document.getElementById("theme")?.setAttribute("aria-pressed", dark);
}

const system = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;
try { chosen = localStorage.getItem("theme"); } catch { /* storage is blocked: the system decides, and each page forgets */ }
const isDark = () => (chosen ? chosen === "dark" : system.matches);

setTheme(isDark());
system.addEventListener("change", () => setTheme(isDark()));
document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  button.hidden = false;
  setTheme(isDark());
  button.addEventListener("click", () => {
    chosen = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", chosen); } catch { /* as above */ }
    setTheme(isDark());
  });
});
