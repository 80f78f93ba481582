// The owner's page: asks again every few seconds.

import { get, post } from "./server.js";

const at = (id) => document.getElementById(id);
const EVERY = 5000; // milliseconds

const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)}%`);
const decimal = (value) => (value === null ? "–" : value.toFixed(2));

function cell(content, { head = false, number = false } = {}) {
  const made = document.createElement(head ? "th" : "td");
  if (head) made.scope = "row";
  if (number) made.className = "number";
  made.append(content);
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A share from 0 to 1 with its interval, and a line at one half. */
function plot({ share, low, high }) {
  const svg = shape("svg", { viewBox: "0 0 240 18", role: "img" });
  svg.setAttribute("aria-label", `${percent(low)} to ${percent(high)}`);
  const x = (value) => 4 + 232 * value;
  svg.append(
    shape("line", { class: "axis", x1: x(0), x2: x(1), y1: 9, y2: 9 }),
    shape("line", { class: "half", x1: x(0.5), x2: x(0.5), y1: 0, y2: 18 }),
    shape("line", { class: "range", x1: x(low), x2: x(high), y1: 9, y2: 9 }),
    shape("circle", { class: "share", cx: x(share), cy: 9, r: 5 }),
  );
  return svg;
}

const UNITS = { pairwise: "Pairs", rating: "Patches", inspection: "Candidates" };

function drawProgress(kind, { participants, begun, finished, answered, units, views, wanted }) {
  const range = views.least === views.most ? views.least : `${views.least} to ${views.most}`;
  const facts = {
    Participants: participants,
    Begun: begun,
    Finished: finished,
    Answered: answered,
    [UNITS[kind]]: units,
    "Each seen by": wanted ? `${range} of ${wanted}` : range,
  };
  at("progress").replaceChildren(
    ...Object.entries(facts).map(([name, value]) => {
      const made = document.createElement("div");
      const term = document.createElement("dt");
      const text = document.createElement("dd");
      term.textContent = name;
      text.textContent = value;
      made.append(term, text);
      return made;
    }),
  );
}

function drawWins(wins) {
  at("wins-part").hidden = !wins;
  if (!wins) return;
  at("wins").tBodies[0].replaceChildren(
    ...wins.map((found) =>
      row(
        cell(found.title, { head: true }),
        cell(found.model_a),
        cell(percent(found.share)),
        cell(plot(found)),
        cell(found.model_b),
        cell(found.wins_a, { number: true }),
        cell(found.ties, { number: true }),
        cell(found.wins_b, { number: true }),
      ),
    ),
  );
}

function drawChoices(choices) {
  at("choices-part").hidden = !choices;
  if (!choices) return;
  const names = [...new Set(choices.flatMap((found) => Object.keys(found.choices)))];
  names.sort((a, b) => Number(a) - Number(b) || a.localeCompare(b));
  const head = ["Model", ...names].map((name) => {
    const made = cell(name, { head: true });
    made.scope = "col";
    return made;
  });
  at("choices").tHead.replaceChildren(row(...head));
  at("choices").tBodies[0].replaceChildren(
    ...choices.map((found) =>
      row(
        cell(found.model || "all", { head: true }),
        ...names.map((name) => cell(found.choices[name] ?? 0)),
      ),
    ),
  );
}

function draw(found) {
  document.title = `${found.name} – Dashboard`;
  at("title").textContent = found.title;
  at("content").hidden = at("export").hidden = false;
  drawProgress(found.kind, found.progress);
  drawWins(found.wins);
  drawChoices(found.choices);
  at("agreement").tBodies[0].replaceChildren(
    ...found.agreement.map(({ title, same, pairs, alpha, low, high }) =>
      row(
        cell(title, { head: true }),
        cell(percent(same)),
        cell(pairs, { number: true }),
        cell(alpha === null ? "–" : `${decimal(alpha)} (${decimal(low)} to ${decimal(high)})`),
      ),
    ),
  );
  at("people").tBodies[0].replaceChildren(
    ...found.participants.map(({ name, done, total, seconds, flags }) => {
      const made = row(
        cell(name, { head: true }),
        cell(`${done} of ${total}`, { number: true }),
        cell(seconds === null ? "–" : seconds, { number: true }),
        cell(flags.join("; ")),
      );
      made.className = flags.length ? "flagged" : "";
      return made;
    }),
  );
}

async function refresh() {
  try {
    draw(await get(`/api/owner/summary?without_flagged=${at("without").checked}`));
    at("problem").textContent = "";
  } catch (error) {
    at("problem").textContent = error.message;
  }
}

at("without").addEventListener("change", refresh);

const token = location.hash.slice(1);
if (token) {
  history.replaceState(null, "", "/dashboard");
  await post("/api/owner/enter", { token }).catch((error) => {
    at("problem").textContent = error.message;
  });
}
await refresh();
setInterval(() => document.hidden || refresh(), EVERY);
