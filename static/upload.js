// The form works without this; it holds back what is too large before it is sent.
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
