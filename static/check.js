// The form works without this; it adds the examples, the counter and Ctrl+Enter.
"use strict";

const form = document.getElementById("check");
const text = document.getElementById("text");
const count = document.getElementById("count");
const limit = Number(text.dataset.limit);

function showCount() {
  const length = Array.from(text.value).length; // characters as Python counts them, not UTF-16 units
  count.textContent = length ? `${length.toLocaleString("en")} of ` : "";
  text.setCustomValidity(length > limit ? `The message has ${length.toLocaleString("en")} characters: at most ${limit.toLocaleString("en")} can be checked.` : "");
}

const examples = document.getElementById("examples"); // there are none for a model of other labels
if (examples) examples.hidden = false;
for (const chip of document.querySelectorAll("[data-example]")) {
  chip.addEventListener("click", () => {
    text.value = chip.dataset.example;
    showCount();
    text.focus();
  });
}
text.addEventListener("input", showCount);
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
showCount();
