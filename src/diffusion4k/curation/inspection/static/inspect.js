// The inspection page: one candidate at a time, decided by a key or a button.
//
// The list is as it was when it was asked for: what is decided stays in it, so that "previous"
// goes back to it. Every decision waits for the server's word that it is on the disk.

import { drawCandidate, drawProgress } from "./draw.js";
import { get, post } from "./server.js";
import { Zoom } from "./zoom.js";

const at = (id) => document.getElementById(id);

let list = []; // numbers of candidates
let place = 0; // index of the one that is shown
let shown = null; // what the server says of it
let busy = false; // a request is under way
let editing = false;

const zoom = new Zoom(at("picture"), {
  shown() {
    seen(true);
    fetchAhead();
  },
  failed(message) {
    seen(true);
    nothing(message);
  },
  scaled(percent, fit) {
    at("scale").textContent = `${percent}%`;
    at("zoom").setAttribute("aria-pressed", String(!fit));
  },
});

/** Whether the picture is there to be judged, or cannot be; written on the page, so that tests see it. */
function seen(now) {
  document.documentElement.dataset.seen = String(now);
}

// What is shown -------------------------------------------------------------------------------

function nothing(message) {
  at("nothing").textContent = message;
  at("nothing").hidden = !message;
}

function say(message) {
  at("status").textContent = message;
}

function complain(error) {
  at("problem").textContent = error.message;
}

function draw(candidate) {
  shown = candidate;
  drawCandidate(candidate);
  at("position").textContent = `${place + 1} of ${list.length} in this list`;
  remember();
}

async function show(index) {
  const candidate = await get(`/api/candidates/${list[index]}`);
  place = index;
  draw(candidate);
  openPicture();
}

async function reload() {
  draw(await get(`/api/candidates/${list[place]}`));
}

function openPicture() {
  seen(false);
  nothing("");
  stopEditing();
  if (shown.pyramid) {
    zoom.open(shown.pyramid, `/tiles/${shown.number}`, `${shown.name}. ${shown.caption ?? ""}`);
  } else {
    zoom.close();
    seen(true);
    nothing(shown.problem);
  }
}

async function fetchAhead() {
  const following = list[place + 1];
  if (following === undefined) return;
  try {
    const { pyramid } = await get(`/api/candidates/${following}`);
    if (pyramid) await fetch(`/tiles/${following}/0/0/0`); // so that the server decodes it
  } catch {
    // It is said when it is shown.
  }
}

// The list ------------------------------------------------------------------------------------

async function fetchList(wanted = null) {
  const [, order, falling] = at("order").value.match(/^(.*)\/(\w+)$/) ?? ["", "", ""];
  const query = new URLSearchParams({ order, falling: falling === "falling" });
  if (at("show").value) query.set("show", at("show").value);
  const { numbers, progress } = await get(`/api/queue?${query}`);
  drawProgress(progress);
  list = numbers;
  if (wanted !== null && !list.includes(wanted)) list.unshift(wanted);
  const empty = list.length === 0;
  for (const id of ["accept", "reject", "edit", "skip", "previous", "next", "zoom"]) {
    at(id).disabled = empty;
  }
  for (const button of at("reasons").children) button.disabled = empty;
  document.querySelector(".about").hidden = empty;
  if (empty) {
    shown = null;
    zoom.close();
    nothing("Nothing in this list. Choose another one above.");
    at("position").textContent = at("scale").textContent = "";
    remember();
  } else {
    await show(wanted === null ? 0 : list.indexOf(wanted));
  }
}

async function forward() {
  if (place + 1 < list.length) {
    await show(place + 1);
  } else {
    await fetchList();
    if (list.length) say("That was the end of the list; here it begins again.");
  }
}

function remember() {
  const state = new URLSearchParams({ show: at("show").value, order: at("order").value });
  if (shown) state.set("candidate", shown.number);
  history.replaceState(null, "", `#${state}`);
}

// What a person does --------------------------------------------------------------------------

/** One thing after the other: keys that come faster than the server answers do not count. */
async function once(action, { endsEditing = false } = {}) {
  if (busy) return;
  if (editing && !endsEditing) {
    complain(new Error("Save or discard the caption first."));
    at("caption").focus();
    return;
  }
  busy = true;
  try {
    at("problem").textContent = "";
    await action();
  } catch (error) {
    complain(error);
  } finally {
    busy = false;
  }
}

const decide = (decision, reason = null) =>
  once(async () => {
    if (!shown) return;
    if (document.documentElement.dataset.seen !== "true") {
      say("The picture is still being loaded.");
      return;
    }
    const { name, number: decided } = shown;
    const after = await post(`/api/candidates/${decided}/decision`, { decision, reason });
    drawProgress(after.progress);
    say(`${name}: ${decision}${reason ? `, ${reason}` : ""}`);
    await forward();
  });

const actions = {
  accept: () => decide("accepted"),
  reject: () => decide("rejected"),
  undo: () =>
    once(async () => {
      const { name, number: undone, progress } = await post("/api/undo");
      drawProgress(progress);
      if (name === null) {
        say("Nothing to undo.");
        return;
      }
      say(`Undone: ${name}`);
      if (undone === null) return;
      if (!list.length) {
        await fetchList(undone);
        return;
      }
      if (!list.includes(undone)) list.splice(place, 0, undone);
      if (shown && shown.number === undone) {
        await reload(); // The picture stays as it is, at its zoom.
      } else {
        await show(list.indexOf(undone));
      }
    }),
  skip: () =>
    once(async () => {
      if (!shown) return;
      const { name } = shown;
      list.push(...list.splice(place, 1));
      await show(Math.min(place, list.length - 1));
      say(`${name}: skipped, comes again at the end`);
    }),
  previous: () => once(() => (place > 0 ? show(place - 1) : say("This is the first."))),
  next: () => once(() => shown && forward()),
  zoom: () => zoom.toggle(),
  edit: () => shown && startEditing(),
  leave: () => leaveEditing(),
  save: () =>
    once(async () => {
      const caption = at("caption").value.trim();
      if (!caption) throw new Error("The caption is empty: write one, or cancel with Esc.");
      draw(await post(`/api/candidates/${shown.number}/caption`, { caption }));
      stopEditing();
      say(`${shown.name}: caption corrected`);
    }, { endsEditing: true }),
};

function startEditing() {
  editing = true;
  at("caption").readOnly = false;
  at("caption").focus();
  at("edit").hidden = true;
  at("save").hidden = at("leave").hidden = false;
}

function stopEditing() {
  if (!editing) return;
  editing = false;
  at("caption").readOnly = true;
  at("caption").blur();
  at("edit").hidden = false;
  at("save").hidden = at("leave").hidden = true;
}

function leaveEditing() {
  at("caption").value = shown.caption ?? "";
  at("problem").textContent = "";
  stopEditing();
}

// Keys ----------------------------------------------------------------------------------------

const KEYS = {
  a: "accept",
  r: "reject",
  u: "undo",
  s: "skip",
  z: "zoom",
  e: "edit",
  ArrowLeft: "previous",
  ArrowRight: "next",
};
const PAN = {
  ArrowLeft: [-0.25, 0],
  ArrowRight: [0.25, 0],
  ArrowUp: [0, -0.25],
  ArrowDown: [0, 0.25],
};

function actionOf(event) {
  if (event.shiftKey && PAN[event.key]) return () => zoom.pan(...PAN[event.key]);
  if (event.repeat || event.shiftKey) return null; // A key that is held down decides once.
  const reason = at("reasons").children[Number(event.key) - 1];
  if (reason && event.key !== " ") return () => reason.click();
  return actions[KEYS[event.key] ?? KEYS[event.key.toLowerCase()]] ?? null;
}

document.addEventListener("keydown", (event) => {
  if (editing && event.target === at("caption")) {
    if (event.key === "Escape") actions.leave();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) actions.save();
    else return;
    event.preventDefault();
    return;
  }
  const arrow = event.key.startsWith("Arrow");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (!arrow && !at("keys").checked) return;
  if (arrow && event.target.matches("select, input, textarea")) return;
  const action = actionOf(event);
  if (action) {
    event.preventDefault();
    action();
  }
});

// Start ---------------------------------------------------------------------------------------

for (const [id, action] of Object.entries(actions)) at(id).addEventListener("click", action);
at("caption").addEventListener("dblclick", actions.edit);
at("keys").checked = localStorage.getItem("keys") !== "off";
at("keys").addEventListener("change", () => {
  localStorage.setItem("keys", at("keys").checked ? "on" : "off");
});
for (const id of ["show", "order"]) {
  at(id).addEventListener("change", () => once(() => fetchList()));
}
// Nothing typed is lost by accident.
addEventListener("beforeunload", (event) => {
  if (editing && at("caption").value !== (shown?.caption ?? "")) event.preventDefault();
});

once(async () => {
  const { measures, reasons } = await get("/api/start");
  for (const measure of measures) {
    for (const way of ["rising", "falling"]) {
      const words = way === "rising" ? "lowest first" : "highest first";
      at("order").add(new Option(`${measure.replaceAll("_", " ")}, ${words}`, `${measure}/${way}`));
    }
  }
  reasons.forEach((reason, index) => {
    const button = document.createElement("button");
    const key = document.createElement("kbd");
    key.textContent = index + 1;
    button.setAttribute("aria-keyshortcuts", index + 1);
    button.append(key, reason);
    button.addEventListener("click", () => decide("rejected", reason));
    at("reasons").append(button);
  });
  const state = new URLSearchParams(location.hash.slice(1));
  for (const id of ["show", "order"]) {
    const wanted = state.get(id);
    if ([...at(id).options].some((option) => option.value === wanted)) at(id).value = wanted;
  }
  const candidate = state.get("candidate");
  await fetchList(candidate === null ? null : Number(candidate)).catch(() => fetchList());
});
