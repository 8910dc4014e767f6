"use strict";
// One player for the whole page: a picture is pressed to hear its clip from there, and again to stop.
const player = new Audio();
let playing = null;
const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
const hours = (h) => h < 1 / 60 ? `${(h * 3600).toFixed(1)} s` : h < 1 ? `${(h * 60).toFixed(1)} min`
  : `${h.toLocaleString("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 })} h`;

function stop() {
  player.pause();
  if (playing) playing.classList.remove("playing");
  playing = null;
}

function play(button, share = 0) {
  const again = playing === button;
  stop();
  if (again && !share) return;
  playing = button;
  button.classList.add("playing");
  player.src = DATA.sounds[button.dataset.clip];
  player.onloadedmetadata = () => { if (share && isFinite(player.duration)) player.currentTime = share * player.duration; };
  player.play().catch(stop);
}

player.addEventListener("ended", stop);
(function follow() {
  if (playing && isFinite(player.duration)) {
    playing.querySelector(".head").style.left = `${player.currentTime / player.duration * 100}%`;
  }
  requestAnimationFrame(follow);
})();

function dress(root) {
  for (const picture of $("img[data-picture]", root)) picture.src = DATA.pictures[picture.dataset.picture];
  for (const button of $("button.look", root)) {
    button.addEventListener("click", (event) => {
      const box = button.getBoundingClientRect();
      const share = event.detail ? (event.clientX - box.left) / box.width : 0; // 0 from the keyboard
      play(button, playing === button || share < 0.05 ? 0 : share);
    });
  }
}
dress(document);

// Anchors: the sandbox in which MLflow shows the page has no address of its own.
for (const link of $("nav a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector(link.getAttribute("href")).scrollIntoView({ behavior: "smooth" });
  });
}

// A card that is opened shows its whole text, too.
for (const details of $(".clip details")) {
  details.addEventListener("toggle", () => details.parentElement.classList.toggle("open", details.open));
}

// The reasons, of all or of a part.
function showReasons() {
  const chosen = Object.fromEntries($(".choose select").map((select) => [select.dataset.part, select.value]));
  const fits = (cell) => (chosen.language === "" || cell[0] === +chosen.language)
    && (chosen.source === "" || cell[1] === +chosen.source);
  const found = new Map();
  let all = 0;
  for (const [, , status, reason, first, any, only, items] of DATA.cube.filter(fits)) {
    const line = found.get(reason) || { status, reason: reason || "kept", first: 0, any: 0, only: 0, items: 0 };
    line.first += first; line.any += any; line.only += only; line.items += items;
    all += first;
    found.set(reason, line);
  }
  const lines = [...found.values()].sort((a, b) => (b.reason === "kept") - (a.reason === "kept") || b.first - a.first);
  const bar = document.getElementById("bar");
  bar.replaceChildren(...lines.filter((line) => line.first > 0).map((line) => {
    const part = document.createElement("i");
    part.className = line.status;
    part.style.flex = line.first / all;
    part.title = `${line.reason}: ${hours(line.first)}`;
    return part;
  }));
  const table = document.getElementById("reasons");
  table.replaceChildren(row("th", ["", "first", "share", "items", "any", "only"]));
  for (const line of lines) {
    const kept = line.reason === "kept";
    const cells = [line.reason.replaceAll("_", " "), hours(line.first), `${(line.first / all * 100).toFixed(1)} %`,
      line.items.toLocaleString("en"), kept ? "" : hours(line.any), kept || !line.only ? "" : hours(line.only)];
    const made = row("td", cells);
    made.className = line.status;
    table.append(made);
  }
  const sum = row("td", ["all", hours(all), all ? "100.0 %" : "", "", "", ""]);
  sum.className = "sum";
  table.append(sum);
}

function row(kind, cells) {
  const made = document.createElement("tr");
  for (const value of cells) {
    const cell = document.createElement(kind);
    cell.textContent = value;
    made.append(cell);
  }
  return made;
}
for (const select of $(".choose select")) select.addEventListener("change", showReasons);
showReasons();

// What another limit would keep: sums over bins.
const figures = (value) => Math.abs(value) >= 9999.5 ? `${+(value / 1000).toPrecision(3)}k` : +value.toPrecision(4);
function showLimit(figure) {
  const chart = DATA.charts[figure.dataset.score];
  const [low, high] = $("input", figure).map((slider) => +slider.value);
  const whole = chart.edges.length - 1;
  const inside = (_, number) => number >= low && number < high;
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const now = sum(chart.kept) + chart.unscored;
  const stays = sum(chart.kept.filter(inside)) + chart.unscored;
  const more = sum(chart.alone.filter(inside));
  const span = chart.edges[whole] - chart.edges[0];
  const at = (edge) => (chart.edges[edge] - chart.edges[0]) / span * 420;
  figure.querySelector(".out.low").setAttribute("width", at(low));
  figure.querySelector(".out.high").setAttribute("x", at(high));
  figure.querySelector(".out.high").setAttribute("width", 420 - at(high));
  const moved = low !== chart.low || high !== chart.high;
  const limits = [low > 0 && `at least ${figures(chart.edges[low])}`, high < whole && `at most ${figures(chart.edges[high])}`];
  const told = limits.filter(Boolean).join(", ") || "no limit";
  const change = moved ? `: ${hours(stays + more)} kept (${more ? `${hours(more)} come in` : "nothing comes in"}, `
    + `${now - stays > 1e-9 ? `${hours(now - stays)} go` : "nothing goes"})` : `: ${hours(now)} kept, as it is`;
  figure.querySelector("output").textContent = told + change;
  figure.classList.toggle("moved", moved);
}
for (const figure of $("figure[data-score]")) {
  for (const slider of $("input", figure)) {
    slider.addEventListener("input", () => {
      const [low, high] = $("input", figure);
      if (+low.value >= +high.value) (slider === low ? low : high).value = slider === low ? +high.value - 1 : +low.value + 1;
      showLimit(figure);
    });
    slider.addEventListener("dblclick", () => {
      slider.value = DATA.charts[figure.dataset.score][slider.dataset.side];
      showLimit(figure);
    });
  }
  showLimit(figure);
}
