// The sample: a clip at a time, judged by key; the verdict by exact binomial; files in and out. Nothing is stored.
const RULE = DATA.rule, SAMPLE = DATA.sample, verdicts = new Map();
let current = 0;

function binomialBelow(count, trials, rate) { // P(X <= count), summed in logarithms
  let log = trials * Math.log1p(-rate), total = Math.exp(log);
  for (let k = 1; k <= count; k++) {
    log += Math.log((trials - k + 1) / k) + Math.log(rate) - Math.log1p(-rate);
    total += Math.exp(log);
  }
  return Math.min(total, 1);
}

function bound(bad, judged) { // Clopper and Pearson's upper bound
  if (bad >= judged) return 1;
  let low = bad / judged, high = 1;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (binomialBelow(bad, judged, middle) > 1 - RULE.confidence) low = middle; else high = middle;
  }
  return (low + high) / 2;
}

function verdict() {
  const judged = verdicts.size, bad = [...verdicts.values()].filter((word) => word === "bad").length;
  const status = bad > RULE.allowed ? (RULE.allowed >= 0 ? "refused" : "open") : judged === RULE.sample ? "accepted" : "open";
  const most = RULE.whole ? (bad + RULE.sample - judged) / Math.max(RULE.sample, 1) : judged ? bound(bad, judged) : 1;
  const heard = `${judged} of ${RULE.sample} clips judged, ${bad} bad (${Math.max(RULE.allowed, 0)} allowed)`;
  const sure = `${(most * 100).toFixed(1)}% at most are bad` + (RULE.whole ? "" : `, with ${RULE.confidence * 100}% confidence`);
  return { status, sentence: judged ? `${heard}; ${sure}` : heard };
}

function element(kind, name, content) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (content !== undefined) made.textContent = content;
  return made;
}

function press(label, key, act) {
  const made = element("button", "act", label);
  made.append(element("kbd", "", key));
  made.addEventListener("click", act);
  return made;
}

const stage = document.getElementById("review");
const told = element("p", "verdict"), ticks = element("div", "ticks"), view = element("div", "view");
const file = element("div", "file"), box = element("textarea"), picker = element("input");

function show() {
  const { status, sentence } = verdict();
  told.className = `verdict ${status}`;
  told.replaceChildren(element("b", "", status), ` ${sentence}`);
  ticks.replaceChildren(...SAMPLE.map((clip, number) => {
    const tick = element("i", `${verdicts.get(clip.key) || ""}${number === current ? " current" : ""}`);
    tick.title = `clip ${number + 1}`;
    tick.addEventListener("click", () => go(number));
    return tick;
  }));
  const clip = SAMPLE[current], word = verdicts.get(clip.key);
  const buttons = () => [...view.querySelectorAll("button")], focused = buttons().indexOf(document.activeElement);
  const look = element("button", "look");
  look.dataset.clip = clip.key;
  look.setAttribute("aria-label", "play");
  const picture = element("img");
  picture.dataset.picture = clip.key;
  picture.alt = "spectrogram";
  look.append(picture, element("i", "head"), element("span", "khz", clip.top), element("span", "long", clip.long));
  const numbers = element("p", "numbers");
  numbers.innerHTML = clip.numbers; // made by us, escaped
  const acts = element("div", "acts");
  const good = press("Good", "G", () => judge("good")), bad = press("Bad", "B", () => judge("bad"));
  good.classList.toggle("good", word === "good");
  bad.classList.toggle("bad", word === "bad");
  acts.append(press("Play", "space", () => play(look)), good, bad, press("Back", "\u2190", () => go(current - 1)),
    press("Next", "\u2192", () => go(current + 1)));
  view.replaceChildren(look, element("p", clip.text ? "text" : "text none", clip.text || "untranscribed"), numbers,
    element("p", "name", `${current + 1} of ${SAMPLE.length}: ${clip.place}`), acts);
  stop();
  dress(view);
  if (focused >= 0) buttons()[focused].focus({ preventScroll: true }); // who judges by Tab and Enter stays there
}

function go(number) {
  current = Math.max(0, Math.min(SAMPLE.length - 1, number));
  show();
}

function judge(word) {
  verdicts.set(SAMPLE[current].key, word);
  const next = SAMPLE.findIndex((clip, number) => number > current && !verdicts.has(clip.key));
  const hearing = playing !== null;
  go(next < 0 ? Math.max(SAMPLE.findIndex((clip) => !verdicts.has(clip.key)), 0) : next);
  if (hearing && verdicts.size < SAMPLE.length) play(view.querySelector(".look"));
}

function written() {
  const words = Object.fromEntries(SAMPLE.filter((clip) => verdicts.has(clip.key)).map((c) => [c.key, verdicts.get(c.key)]));
  return JSON.stringify({ format: DATA.format, corpus: DATA.corpus, sample: RULE.sample, allowed: RULE.allowed,
    verdicts: words }, null, 1);
}

function take(content) {
  let found;
  try { found = JSON.parse(content); } catch (error) { return `This is no file of verdicts: ${error.message}`; }
  if (found.format !== DATA.format) return `This is no file of verdicts (${DATA.format}).`;
  if (found.corpus !== DATA.corpus) return `These verdicts are of ${found.corpus}, but this page is of ${DATA.corpus}.`;
  const known = new Set(SAMPLE.map((clip) => clip.key));
  let count = 0;
  for (const [key, word] of Object.entries(found.verdicts || {})) {
    if (known.has(key) && (word === "good" || word === "bad")) { verdicts.set(key, word); count++; }
  }
  show();
  return `${count} verdicts taken.`;
}

function build() {
  const note = element("span", "note");
  const save = element("a", "act", "Save as a file");
  save.addEventListener("click", () => {
    box.value = written();
    save.href = `data:application/json;charset=utf-8,${encodeURIComponent(box.value)}`;
    save.download = `${DATA.corpus.replace("@", "-").slice(0, 60)}.verdicts.json`;
    note.textContent = "If no file appears (MLflow's frame allows none), copy the text below.";
    box.hidden = false;
    box.select();
  });
  save.href = "#judge";
  const load = press("Take from the text", "", () => { note.textContent = take(box.value); });
  picker.type = "file";
  picker.accept = ".json,application/json";
  picker.setAttribute("aria-label", "load verdicts from a file");
  picker.addEventListener("change", () => {
    if (picker.files[0]) picker.files[0].text().then((content) => { note.textContent = take(content); });
  });
  box.placeholder = "Verdicts as text: to copy from here, or to paste here and take.";
  box.setAttribute("aria-label", "verdicts as text");
  box.rows = 4;
  const more = element("details"), inside = element("summary", "", "Save or load verdicts");
  file.append(save, picker, load, note);
  more.append(inside, file, box);
  stage.append(told, ticks, view, more);
  show();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
  if (event.key === " " && /BUTTON|SUMMARY/.test(event.target.tagName)) return; // what has the focus is pressed by it
  const box = stage.getBoundingClientRect();
  if (!SAMPLE.length || box.bottom < 0 || box.top > window.innerHeight) return; // not in sight
  const act = { g: () => judge("good"), b: () => judge("bad"), ArrowLeft: () => go(current - 1),
    ArrowRight: () => go(current + 1), " ": () => play(view.querySelector(".look")) }[event.key];
  if (act) { event.preventDefault(); act(); }
});
if (SAMPLE.length) build(); else stage.append(element("p", "", "No sound of a kept clip is at hand."));
