// Without this the page works too: a version is then chosen together with a range.
"use strict";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const hours = -new Date().getTimezoneOffset() / 60;
document.getElementById("zone").textContent = `; your browser's zone is ${zone} (UTC${hours < 0 ? "−" : "+"}${Math.abs(hours)})`;

const form = document.getElementById("range");
form.elements.model_version.addEventListener("change", () => {
  form.requestSubmit(form.querySelector("[aria-current]"));
});
