// Without this the page works too: a version is then chosen together with a range.
"use strict";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const offset = new Date().toLocaleString("en", { timeZoneName: "shortOffset" }).split(" ").at(-1); // such as GMT+5:30
document.getElementById("zone").textContent = `; your browser's zone is ${zone} (${offset})`;

const form = document.getElementById("range");
form.elements.model_version.addEventListener("change", () => {
  form.requestSubmit(form.querySelector("[aria-current]"));
});
