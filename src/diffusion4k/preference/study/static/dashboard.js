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

/** Fill a table; each cell knows its heading, which a narrow screen shows beside it. */
function fill(table, rows) {
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  for (const made of rows) {
    [...made.cells].forEach((each, index) => {
      each.dataset.label = heads[index];
    });
  }
  table.tBodies[0].replaceChildren(...rows);
}

function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A share from 0 to 1 with its interval, in numbers and drawn, and a line at one half. */
function plot({ share, low, high }) {
  const svg = shape("svg", { viewBox: "0 0 240 18", "aria-hidden": "true" });
  const x = (value) => 4 + 232 * value;
  svg.append(
    shape("line", { class: "axis", x1: x(0), x2: x(1), y1: 9, y2: 9 }),
    shape("line", { class: "half", x1: x(0.5), x2: x(0.5), y1: 0, y2: 18 }),
    shape("line", { class: "range", x1: x(low), x2: x(high), y1: 9, y2: 9 }),
    shape("circle", { class: "share", cx: x(share), cy: 9, r: 5 }),
  );
  const made = document.createElement("div");
  const numbers = document.createElement("span");
  made.className = "interval";
  numbers.textContent = `${percent(low)} to ${percent(high)}`;
  made.append(svg, numbers);
  return made;
}

const UNITS = { pairwise: "Pairs", rating: "Patches", inspection: "Candidates" };

function drawProgress(kind, progress) {
  const { participants, begun, finished, answered, units, views, wanted, needed } = progress;
  const range = views.least === views.most ? views.least : `${views.least} to ${views.most}`;
  const facts = {
    Participants: participants,
    Begun: begun,
    Finished: finished,
    "Left out": progress.left_out,
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
  at("note").hidden = needed === null;
  at("note").textContent =
    `More people are invited than ${wanted} views have room for: raise "views" in the study's file ` +
    `to ${needed} and start the server again, or who comes last finds nothing left.`;
}

function drawWins(wins) {
  at("wins-part").hidden = !wins;
  if (!wins) return;
  fill(
    at("wins"),
    wins.map((found) =>
      row(
        cell(found.title, { head: true }),
        cell(found.model_a),
        cell(percent(found.share), { number: true }),
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
  fill(
    at("choices"),
    choices.map((found) =>
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
  fill(
    at("agreement"),
    found.agreement.map(({ title, same, pairs, alpha, low, high }) =>
      row(
        cell(title, { head: true }),
        cell(percent(same), { number: true }),
        cell(pairs, { number: true }),
        cell(alpha === null ? "–" : `${decimal(alpha)} (${decimal(low)} to ${decimal(high)})`, {
          number: true,
        }),
      ),
    ),
  );
  drawPeople(found.participants);
}

const NAMED = 50; // links that are named in one line

function drawPeople(people) {
  const [unopened, others] = [[], []];
  for (const each of people) (each.state === "never opened" ? unopened : others).push(each);
  fill(
    at("people"),
    others.map(({ name, state, done, total, seconds, minutes_left, checks, flags }) => {
      const made = row(
        cell(name, { head: true }),
        cell(state),
        cell(`${done} of ${total}`, { number: true }),
        cell(seconds === null ? "–" : seconds, { number: true }),
        cell(minutes_left, { number: true }),
        cell(checks.seen ? `${checks.passed} of ${checks.seen}` : "–", { number: true }),
        cell(flags.join("; ")),
      );
      made.className = flags.length ? "flagged" : "";
      return made;
    }),
  );
  const names = unopened.slice(0, NAMED).map(({ name }) => name);
  if (unopened.length > NAMED) names.push(`${unopened.length - NAMED} more`);
  at("unopened").textContent = names.length ? `Links never opened: ${names.join(", ")}` : "";
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
