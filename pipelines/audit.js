"use strict";
// One copy of each sound serves every sheet that shows the clip; one plays at a time.
document.querySelectorAll("audio[data-clip]").forEach((player) => { player.src = SOUNDS[player.dataset.clip]; });
document.addEventListener("play", (event) => {
  document.querySelectorAll("audio").forEach((other) => { if (other !== event.target) other.pause(); });
}, true);
