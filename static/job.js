// Shows how far a job is. Without this the page reloads every few seconds.
"use strict";

const shown = document.getElementById("job");
const bar = shown.querySelector("progress");

async function look() {
  try {
    const answer = await fetch(shown.dataset.status);
    if (answer.redirected) return location.reload(); // the sign-in has ended
    const job = await answer.json();
    if (job.state !== "running") return location.reload();
    if (job.progress !== null) bar.value = job.progress;
    document.getElementById("words").textContent = job.message;
  } catch {
    // The server is restarting, say: the job goes on.
  }
  setTimeout(look, 1000);
}
setTimeout(look, 1000);
