// The pages work without this; it holds back what is too large, and shows how far a run is.
"use strict";

const upload = document.getElementById("upload");
if (upload) {
  const file = document.getElementById("file");
  const limit = Number(file.dataset.limit);
  file.addEventListener("change", () => {
    const tooLarge = file.files.length && file.files[0].size > limit;
    file.setCustomValidity(tooLarge ? `The file is larger than ${limit / 1024 ** 2} MB.` : "");
    file.reportValidity();
  });
  upload.addEventListener("submit", () => {
    document.getElementById("sending").textContent = "The file is being sent …";
  });
}

const run = document.getElementById("run");
if (run) {
  const bar = run.querySelector("progress");
  const words = document.getElementById("words");
  const look = async () => {
    try {
      const answer = await fetch(run.dataset.status);
      if (answer.redirected) return location.reload(); // the sign-in has ended
      const job = await answer.json();
      if (job.state !== "running") return location.reload();
      if (job.progress !== null) bar.value = job.progress;
      words.textContent = job.message;
    } catch {
      // The server is restarting, say: the run goes on.
    }
    setTimeout(look, 1000);
  };
  setTimeout(look, 1000);
}
