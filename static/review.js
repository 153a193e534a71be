// The keys on the buttons: S, H, U (1, 2, U where the labels are other words) label the open message, Z takes back, J and K move.
// Everything works without this.
"use strict";

const choice = document.getElementById("keys");
const TYPED_INTO = "input:not([type=checkbox]), textarea, select, [contenteditable]";

function useKeys(on) {
  choice.checked = on;
  document.documentElement.classList.toggle("with-keys", on);
}

let wanted = null;
try { wanted = localStorage.getItem("review-keys"); } catch { /* storage is blocked: each page forgets */ }
document.getElementById("keys-choice").hidden = false;
useKeys(wanted !== "off");
choice.addEventListener("change", () => {
  useKeys(choice.checked);
  try { localStorage.setItem("review-keys", choice.checked ? "on" : "off"); } catch { /* as above */ }
});

let pressed = -Infinity; // pressed twice while the next page loads, a key must not count twice
document.addEventListener("keydown", (event) => {
  if (!choice.checked || event.repeat || event.timeStamp - pressed < 1000 || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.target.closest(TYPED_INTO)) return;
  const control = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]:not([disabled])`);
  if (!control) return;
  event.preventDefault();
  pressed = event.timeStamp;
  control.click();
});

for (const current of document.querySelectorAll("aside [aria-current]")) current.scrollIntoView({ block: "nearest", inline: "nearest" });
