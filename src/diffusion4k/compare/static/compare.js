// The page: prompts in a list, and the pictures of one prompt side by side, under a slider, or in
// turn. All pictures of a prompt stay open whatever the view: nothing loads when it changes.
// What is read from `data.js` goes into the page as text, never as markup.

/* global COMPARISON, LinkedViewers */

const { models, rows, tiles, headings } = COMPARISON;
const $ = (id) => document.getElementById(id);
const STEP = 0.25; // of the view, for keys that move the pictures
const MANY = 8; // numbers below a picture: more are scrolled
const BLINK = 600; // milliseconds a picture is seen: below three changes a second, for eyes' sake

const state = { row: 0, mode: "side", left: 0, right: 1, shown: 0, split: 50, blinking: 0 };
const cells = models.map(makeCell);
const viewers = new LinkedViewers(
  cells.map((cell) => cell.view),
  { shown, scaled, failed: (index) => say(cells[index], "a part of this image is missing") },
);

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function makeCell(name) {
  const figure = element("figure");
  const view = element("div", "view");
  const nothing = element("p", "nothing");
  const caption = element("figcaption");
  const title = element("strong", "", name);
  const [size, scale] = [element("span", "soft"), element("span", "scale")];
  const numbers = element("dl", "numbers");
  if (headings.length > MANY) { // the picture keeps its room
    numbers.classList.add("many");
    numbers.tabIndex = 0;
  }
  view.append(nothing);
  caption.append(title, size, scale, numbers);
  figure.append(view, caption);
  $("handle").before(figure);
  return { figure, view, nothing, size, scale, numbers };
}

/* What is shown. */

function show(index) {
  state.row = Math.min(Math.max(index, 0), rows.length - 1);
  const { prompt, pictures } = rows[state.row];
  document.documentElement.dataset.seen = "false";
  $("prompt").textContent = prompt;
  $("position").textContent = `${state.row + 1} of ${rows.length}`;
  $("previous").disabled = state.row === 0;
  $("next").disabled = state.row === rows.length - 1;
  document.querySelectorAll("nav button").forEach((button, i) => {
    button.setAttribute("aria-current", String(i === state.row));
    if (i === state.row) button.scrollIntoView({ block: "nearest" });
  });
  cells.forEach((cell, i) => fill(cell, pictures[i]));
  viewers.open(pictures.map((picture, i) => (picture?.id ? source(picture, models[i]) : null)));
  const sizes = new Set(pictures.filter((p) => p?.id).map((p) => `${p.width}x${p.height}`));
  $("linked").hidden = sizes.size < 2;
  $("note").textContent = sizes.size < 2 ? "" :
    "Sizes differ. Same part: every picture shows the same share of itself. " +
    "Same pixels: every picture at the same scale, around the same relative position.";
  history.replaceState(null, "", `#${state.row + 1}`);
  arrange();
}

function fill(cell, picture) {
  const why = picture ? `${picture.file} cannot be decoded` : "no image for this prompt";
  say(cell, picture?.id ? "" : why);
  cell.size.textContent = picture?.id ? `${picture.width} × ${picture.height}` : "";
  cell.size.title = picture?.file ?? "";
  cell.numbers.replaceChildren();
  for (const { name, text, digits } of headings) {
    if (picture?.numbers?.[name] === undefined) continue;
    const pair = element("div");
    pair.append(element("dt", "", text), element("dd", "", picture.numbers[name].toFixed(digits)));
    cell.numbers.append(pair);
  }
}

function say(cell, text) {
  cell.nothing.textContent = text;
  cell.nothing.hidden = !text;
}

function source({ id, file, width, height, top }, model) {
  const url = (level, column, row) =>
    `${tiles.folder}/${id}/${level}/${column}_${row}.${level === top ? tiles.top : "jpg"}`;
  const label = `${model}: ${rows[state.row].prompt}. ${file}`;
  return { width, height, top, tile: tiles.size, overlap: tiles.overlap, label, url };
}

function shown() {
  document.documentElement.dataset.seen = "true";
}

function scaled(percents) {
  percents.forEach((percent, index) => {
    const text = Number.isNaN(percent) ? "" : `${Math.round(percent)}%`;
    if (cells[index].scale.textContent !== text) cells[index].scale.textContent = text;
  });
  $("zoom").setAttribute("aria-pressed", String(viewers.isFull));
  $("unit").value = viewers.unit;
}

/* How it is shown. */

function arrange() {
  const { mode, left, right, split } = state;
  document.body.dataset.mode = mode;
  document.querySelectorAll("#modes button").forEach((button) => {
    button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  });
  document.querySelectorAll("#shown button").forEach((button, index) => {
    button.setAttribute("aria-pressed", String(index === state.shown));
  });
  cells.forEach(({ figure }, index) => {
    const seen = mode === "slider" ? [left, right] : [state.shown];
    figure.classList.toggle("seen", seen.includes(index));
    figure.classList.toggle("left", index === left);
    figure.classList.toggle("right", index === right);
  });
  $("left").value = left;
  $("right").value = right;
  const stage = $("stage");
  stage.style.setProperty("--split", `${split}%`);
  stage.style.setProperty("--columns", columns());
  $("handle").setAttribute("aria-valuenow", String(Math.round(split)));
}

/** As many columns as show the pictures largest. */
function columns() {
  const { clientWidth: width, clientHeight: height } = $("stage");
  const first = rows[state.row].pictures.find((picture) => picture?.id) ?? { width: 1, height: 1 };
  const caption = 56;
  const seen = (count) => {
    const lines = Math.ceil(models.length / count);
    const cell = [width / count - 8, Math.max(height / lines - 8, 170) - caption];
    return Math.min(cell[0] / first.width, cell[1] / first.height);
  };
  const counts = models.map((_, index) => index + 1);
  return counts.reduce((best, count) => (seen(count) > seen(best) ? count : best));
}

function setMode(mode) {
  state.mode = mode;
  if (mode !== "flicker") blink(false);
  arrange();
}

function setPair(side, index) {
  const other = side === "left" ? "right" : "left";
  if (state[other] === index) state[other] = state[side]; // they change places
  state[side] = index;
  arrange();
}

function setSplit(percent) {
  state.split = Math.min(Math.max(percent, 0), 100);
  arrange();
}

function setShown(index) {
  state.shown = (index + models.length) % models.length;
  arrange();
}

function blink(on) {
  clearInterval(state.blinking);
  state.blinking = on ? setInterval(() => setShown(state.shown + 1), BLINK) : 0;
  $("blink").setAttribute("aria-pressed", String(on));
}

/* What people do. */

function pick(index) {
  if (index >= models.length) return;
  if (state.mode === "slider") setPair("right", index);
  else if (state.mode === "flicker") setShown(index);
}

const KEYS = {
  ArrowLeft: () => show(state.row - 1),
  ArrowRight: () => show(state.row + 1),
  s: () => setMode("side"),
  c: () => setMode("slider"),
  f: () => setMode("flicker"),
  b: () => state.mode === "flicker" && blink(!state.blinking),
  z: () => viewers.toggle(),
  0: () => viewers.home(),
  "+": () => viewers.zoom(1.5),
  "=": () => viewers.zoom(1.5),
  "-": () => viewers.zoom(1 / 1.5),
  "[": () => setSplit(state.split - 5),
  "]": () => setSplit(state.split + 5),
  " ": () => state.mode === "flicker" && setShown(state.shown + 1),
  "?": () => $("keys").showModal(),
};
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (event.target.closest("select, [role=slider]")) return;
  // A screen reader or speech may have other plans with them.
  if (event.key.length === 1 && !$("letters").checked) return;
  if (event.key === " " && event.target.closest("button")) return;
  const move = event.shiftKey && MOVES[event.key];
  if (move) viewers.pan(move[0] * STEP, move[1] * STEP);
  else if (event.key >= "1" && event.key <= "6") pick(Number(event.key) - 1);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});

/** After a click Space shall flicker, and not press the button again. */
function click(target, act) {
  target.addEventListener("click", (event) => {
    act(event);
    if (event.detail > 0) target.blur();
  });
}

function openList(open) {
  document.querySelector("nav").classList.toggle("open", open);
  $("list").setAttribute("aria-expanded", String(open));
}

click($("previous"), KEYS.ArrowLeft);
click($("next"), KEYS.ArrowRight);
click($("zoom"), KEYS.z);
click($("help"), KEYS["?"]);
click($("blink"), KEYS.b);
click($("list"), () => openList($("list").getAttribute("aria-expanded") === "false"));
$("unit").addEventListener("change", (event) => viewers.setUnit(event.target.value));
document.querySelectorAll("#modes button").forEach((button) => {
  click(button, () => setMode(button.dataset.mode));
});
for (const side of ["left", "right"]) {
  models.forEach((name, index) => {
    const option = element("option", "", name);
    option.value = index;
    $(side).append(option);
  });
  $(side).addEventListener("change", (event) => setPair(side, Number(event.target.value)));
}
models.forEach((name, index) => {
  const button = element("button", "", name);
  button.setAttribute("aria-keyshortcuts", String(index + 1));
  click(button, () => setShown(index));
  $("shown").append(button);
});
rows.forEach(({ prompt }, index) => {
  const [item, button] = [element("li"), element("button")];
  button.append(element("span", "", prompt));
  click(button, () => {
    openList(false);
    show(index);
  });
  item.append(button);
  document.querySelector("nav ol").append(item);
});

$("handle").addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, Home: -100, End: 100 };
  if (!(event.key in steps) || event.shiftKey) return;
  setSplit(state.split + steps[event.key]);
  event.preventDefault();
});
$("handle").addEventListener("pointerdown", (event) => {
  $("handle").setPointerCapture(event.pointerId);
});
$("handle").addEventListener("pointermove", (event) => {
  if (!$("handle").hasPointerCapture(event.pointerId)) return;
  const box = cells[state.left].view.getBoundingClientRect();
  setSplit((100 * (event.clientX - box.left)) / box.width);
});

addEventListener("resize", arrange);
addEventListener("hashchange", () => show(asked()));

/** The row that the address names, counted from 1: `#3`. */
function asked() {
  return (Number.parseInt(location.hash.slice(1), 10) || 1) - 1;
}

$("title").textContent = document.title = COMPARISON.title;
show(asked());
