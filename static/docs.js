// Sends what the forms on the documentation's page hold, and shows the answer.
"use strict";

for (const form of document.querySelectorAll("form[data-path]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form));
    const query = new URLSearchParams(
      Array.from(form.querySelectorAll("[data-in=query]"), ({ name, value }) => [name, value]).filter(([, value]) => value),
    );
    const path = form.dataset.path.replace(/{(\w+)}/g, (_, name) => encodeURIComponent(values[name]));
    const options = { method: form.dataset.method, headers: {} };
    if (values.api_key) options.headers.Authorization = `Bearer ${values.api_key}`;
    if (values.body) {
      options.body = values.body;
      options.headers["Content-Type"] = "application/json";
    }
    const shown = form.querySelector(".answer");
    shown.hidden = false;
    try {
      const answer = await fetch(query.size ? `${path}?${query}` : path, options);
      const isJson = answer.headers.get("Content-Type").includes("json");
      const content = isJson ? JSON.stringify(await answer.json(), null, 2) : await answer.text();
      shown.textContent = `${answer.status} ${answer.statusText}\n${content}`;
    } catch (error) {
      shown.textContent = `No answer: ${error.message}. Is the server still running?`;
    }
  });
}
