// Sends what the forms on the documentation's page hold, and shows the answer.
"use strict";

for (const form of document.querySelectorAll("form[data-path]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form));
    const path = form.dataset.path.replace(/{(\w+)}/g, (_, name) => encodeURIComponent(values[name]));
    const options = { method: form.dataset.method };
    if (values.body) Object.assign(options, { body: values.body, headers: { "Content-Type": "application/json" } });
    const shown = form.querySelector(".answer");
    shown.hidden = false;
    try {
      const answer = await fetch(path, options);
      const isJson = answer.headers.get("Content-Type").includes("json");
      const content = isJson ? JSON.stringify(await answer.json(), null, 2) : await answer.text();
      shown.textContent = `${answer.status} ${answer.statusText}\n${content}`;
    } catch (error) {
      shown.textContent = `No answer: ${error.message}. Is the server still running?`;
    }
  });
}
