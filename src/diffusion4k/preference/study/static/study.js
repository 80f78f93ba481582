// The participant's page: consent, then one thing after the other, then thanks.
//
// A step is one question. When the last one is answered all are sent together, and the page continues
// when the server says that they are on its disk.

/* global LinkedViewers */

import { Clock } from "./clock.js";
import { KEYS, facts, steps } from "./kinds.js";
import { Outbox, newKey } from "./outbox.js";
import { get, post, setToken } from "./server.js";

const at = (id) => document.getElementById(id);

let me = null; // the study and this participant
let questions = []; // steps of each presentation
let shown = null; // what is seen
let step = 0;
let replied = {}; // choices until now
let busy = false;
let outbox = null;

const clock = new Clock();
const figures = [...document.querySelectorAll(".picture")];
let viewers = null;

// What is shown -------------------------------------------------------------------------------

/** Whether the images can be judged, written on the page, so that tests see it. */
function seen(now) {
  document.documentElement.dataset.seen = String(now);
  if (now === true) clock.start();
}

function complain(error) {
  at("problem").textContent = error ? error.message : "";
}

/** What the server says in one line, as a sentence. */
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function say(message) {
  at("status").textContent = message;
}

function notice(title, text, { go = null, leave = false } = {}) {
  seen(false);
  at("task").hidden = true;
  at("notice").hidden = false;
  at("pause").hidden = true;
  at("notice-title").textContent = title;
  at("notice-text").textContent = text;
  at("go").hidden = go === null;
  at("go").textContent = go ?? "";
  at("leave").hidden = !leave;
  at("link-row").hidden = true;
  at("facts").hidden = true;
  at("notice-title").focus();
}

function drawProgress({ done, total }) {
  at("progress").hidden = false;
  at("bar").max = total || 1;
  at("bar").value = done;
  at("count").textContent = `${done} of ${total}`;
}

function open() {
  const single = shown.pictures.length === 1;
  at("pictures").classList.toggle("single", single);
  seen(false);
  if (shown.pictures.includes(null)) {
    viewers?.open(figures.map(() => null));
    seen(false); // An empty view is shown at once.
    stumble();
    return;
  }
  viewers ??= new LinkedViewers(figures.slice(0, shown.pictures.length), {
    // Behind a notice there is nothing to be seen.
    shown: () =>
      !at("task").hidden && document.documentElement.dataset.seen === "false" && seen(true),
    failed: () => stumble(),
    scaled(percents) {
      const found = percents.filter((percent) => !Number.isNaN(percent)).map(Math.round);
      at("scale").textContent = [...new Set(found)].map((percent) => `${percent}%`).join(", ");
      at("zoom").setAttribute("aria-pressed", String(viewers?.isFull ?? false));
    },
  });
  viewers.open(
    shown.pictures.map((picture, index) => {
      const label = single ? `Image. ${shown.text}` : `Image ${"AB"[index]}. ${shown.text}`;
      const url = (level, column, row) => `/tiles/${picture.key}/${level}/${column}/${row}`;
      return { ...picture, label, url };
    }),
  );
}

/** An image cannot be shown: the server is asked, and if it says so too this one is passed over. */
async function stumble() {
  if (document.documentElement.dataset.seen === "broken") return;
  const { position } = shown;
  try {
    const again = await get(`/api/shown/${position}`);
    if (shown.position !== position) return;
    const tile = (picture) => picture && fetch(`/tiles/${picture.key}/${picture.top}/0/0`);
    const found = await Promise.all(again.pictures.map(tile));
    const fine = found.every((response) => response?.ok);
    const lasting = found.some((response) => !response || response.status === 422);
    if (fine || !lasting) throw new Error("An image could not be loaded: reload the page.");
    seen("broken");
    at("choices").replaceChildren(button({ value: "skip", label: "Continue", keys: ["Enter"] }));
    complain(new Error("An image cannot be shown. Continue, and please tell whoever sent you here."));
  } catch (error) {
    complain(error);
  }
}

function button({ value, label, keys, reason, small }) {
  const made = document.createElement("button");
  const key = document.createElement("kbd");
  key.textContent = keys[0];
  made.append(label, " ", key);
  made.className = small ? "small" : "";
  made.dataset.keys = keys.join(" ");
  made.setAttribute("aria-keyshortcuts", keys.join(" "));
  const held = shown.choices[questions[step].name] === value;
  const same = held && (shown.detail.reason ?? null) === (reason ?? null);
  made.setAttribute("aria-pressed", String(same));
  made.addEventListener("click", () => choose(value, reason));
  return made;
}

function drawStep() {
  const { choices, many } = questions[step];
  [...at("questions").children].forEach((each, index) => {
    each.classList.toggle("now", index === step);
  });
  at("choices").setAttribute("aria-labelledby", `question-${step}`);
  at("choices").classList.toggle("many", Boolean(many));
  at("choices").replaceChildren(...choices.map(button));
  at("back").disabled = step === 0 && shown.position === 0;
  at("ask").classList.remove("open");
  drawMore();
  at(`question-${step}`).focus({ preventScroll: true });
}

function present(found) {
  shown = found;
  step = 0;
  replied = {};
  complain(null);
  drawProgress(found);
  at("notice").hidden = true;
  at("task").hidden = false;
  at("pause").hidden = false;
  const inspecting = me.kind === "inspection";
  at("text").hidden = inspecting || !found.text;
  at("caption-row").hidden = !inspecting;
  at("prompt").textContent = found.text;
  at("caption").value = found.detail.caption ?? found.text;
  drawStep();
  open();
}

async function next() {
  const found = await get("/api/next");
  if (!found.finished) {
    present(found);
    say("");
    return;
  }
  drawProgress(found);
  const nothing = "Enough people have already taken part, so nothing is left to show you.";
  notice("Thank you", found.done ? me.thanks : nothing, { go: found.done ? "Look at the last one again" : null });
  at("go").onclick = () => once(() => earlier(found.done - 1));
}

async function earlier(position) {
  present(await get(`/api/shown/${position}`));
  say("You have answered this one: answer again to change it.");
}

// What a person does --------------------------------------------------------------------------

/** One thing after the other: keys that come faster than the server answers do not count. */
async function once(action) {
  if (busy) return;
  busy = true;
  try {
    complain(null);
    await action();
  } catch (error) {
    const refused = error.status === 401 || error.status === 403;
    complain(refused ? null : error);
    if (refused) notice("The study cannot be opened", sentence(error.message));
  } finally {
    busy = false;
  }
}

const choose = (value, reason) =>
  once(async () => {
    const ready = document.documentElement.dataset.seen;
    if (ready === "false") {
      say("The images are still being loaded.");
      return;
    }
    if (value === "skip") {
      replied = Object.fromEntries(questions.map(({ name }) => [name, "skip"]));
    } else {
      replied[questions[step].name] = value;
      say("");
      if (step + 1 < questions.length) {
        step += 1;
        drawStep();
        return;
      }
    }
    await send(reason);
    await next();
  });

async function send(reason) {
  const reply = {
    position: shown.position,
    key: newKey(),
    choices: replied,
    seconds: clock.seconds,
  };
  const caption = at("caption").value.trim();
  if (me.kind === "inspection" && replied.decision !== "skip") {
    if (reason) reply.reason = reason;
    if (caption && caption !== shown.text) reply.caption = caption;
  }
  await outbox.send(reply);
}

const actions = {
  back: () =>
    once(async () => {
      if (step > 0) {
        step -= 1;
        drawStep();
      } else if (shown.position > 0) {
        await earlier(shown.position - 1);
      }
    }),
  zoom: () => viewers?.toggle(),
  more: () => {
    at("ask").classList.toggle("open");
    drawMore();
  },
  pause: () => {
    notice("Paused", "Your answers are kept. Continue now, or come back later by your personal link.", {
      go: "Continue",
      leave: true,
    });
    at("go").onclick = () => once(next);
  },
  leave: () =>
    once(async () => {
      await post("/api/leave");
      at("progress").hidden = true;
      notice("Goodbye", "Open your personal link to come back.");
    }),
  copy: async () => {
    at("link").select();
    await navigator.clipboard?.writeText(at("link").value);
    at("copy").textContent = "Copied";
  },
};

// Keys ----------------------------------------------------------------------------------------

const PAN = {
  ArrowLeft: [-0.25, 0],
  ArrowRight: [0.25, 0],
  ArrowUp: [0, -0.25],
  ArrowDown: [0, 0.25],
};

function actionOf({ key, shiftKey, repeat }) {
  if (shiftKey && PAN[key]) return () => viewers.pan(...PAN[key]);
  if (key === "+") return () => viewers.zoom(1.5);
  if (key === "-") return () => viewers.zoom(1 / 1.5);
  if (repeat || shiftKey) return null; // A key that is held down answers once.
  if (key === "z") return actions.zoom;
  if (key === "b") return actions.back;
  const chosen = [...at("choices").children].find((each) => each.dataset.keys?.split(" ").includes(key));
  return chosen ? () => chosen.click() : null;
}

document.addEventListener("keydown", (event) => {
  if (at("task").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!at("keys").checked || event.target.matches("textarea, input, select")) return;
  // A button that is focused is pressed by Enter; text that can be scrolled takes arrows.
  if (event.key === "Enter" && event.target.matches("button, summary")) return;
  if (event.target === at("text") && ["ArrowUp", "ArrowDown"].includes(event.key)) return;
  const action = actionOf(event);
  if (action) {
    event.preventDefault();
    action();
  }
});

function drawQuestions() {
  const drawn = questions.map(({ title, text }, index) => {
    const made = document.createElement("div");
    const head = document.createElement("h2");
    const count = questions.length > 1 ? `${index + 1} of ${questions.length}: ` : "";
    head.id = `question-${index}`;
    head.tabIndex = -1;
    head.textContent = `${count}${title}`;
    const body = document.createElement("p");
    body.textContent = text;
    made.append(head, body);
    return made;
  });
  at("questions").replaceChildren(...drawn);
}

function drawFacts() {
  const drawn = facts(me).map(([text, kind = ""]) => {
    const made = document.createElement("li");
    made.textContent = text;
    made.className = kind;
    return made;
  });
  at("facts").replaceChildren(...drawn);
  at("facts").hidden = false;
}

/** A small screen shows the beginning of a long question, and the rest by a button. */
function drawMore() {
  const text = document.querySelector("#questions .now p");
  const open = at("ask").classList.contains("open");
  at("more").hidden = !open && text.scrollHeight <= text.clientHeight + 1;
  at("more").textContent = open ? "less" : "more";
  at("more").setAttribute("aria-expanded", String(open));
}

function drawKeys() {
  const choices = questions[0].choices.map(({ keys, label }) => [keys.join(" "), label]);
  const entries = [...choices, ...KEYS].flatMap(([keys, what]) => {
    const term = document.createElement("dt");
    for (const key of keys.split(" ")) {
      const made = document.createElement("kbd");
      made.textContent = key.replace("ArrowLeft", "←").replace("ArrowRight", "→").replace("ArrowDown", "↓");
      term.append(made, " ");
    }
    const text = document.createElement("dd");
    text.textContent = what;
    return [term, text];
  });
  at("keys-list").replaceChildren(...entries);
}

// Start ---------------------------------------------------------------------------------------

function know(found) {
  me = found;
  document.title = at("title").textContent = me.title;
  questions = steps(me);
  drawQuestions();
  drawKeys();
  if (!me.participant) return;
  setToken(me.csrf);
  outbox = new Outbox(me.participant, {
    waiting: (message) => complain(new Error(message)),
    sent: () => complain(null),
  });
}

async function begin() {
  if (outbox.left) await outbox.send(outbox.left).catch(complain);
  await next();
}

async function agree() {
  if (me.participant) {
    know(await post("/api/consent"));
    await begin();
    return;
  }
  const { link, ...found } = await post("/api/join");
  know(found);
  notice("Before you begin", "", { go: "Begin" });
  at("link-row").hidden = false;
  at("link").value = `${location.origin}/#${link}`;
  at("go").onclick = () => once(begin);
}

for (const [id, action] of Object.entries(actions)) at(id).addEventListener("click", action);
at("keys").checked = localStorage.getItem("keys") !== "off";
at("keys").addEventListener("change", () => {
  localStorage.setItem("keys", at("keys").checked ? "on" : "off");
});
addEventListener("resize", () => at("task").hidden || drawMore());
addEventListener("hashchange", () => location.reload()); // Another link was opened here.

once(async () => {
  const secret = location.hash.slice(1);
  // The secret is not to be seen over someone's shoulder, nor kept in the browser's history.
  if (secret) history.replaceState(null, "", "/");
  know(await (secret ? post("/api/enter", { link: secret }) : get("/api/me")));
  if (me.participant && me.consented) {
    await begin();
  } else {
    notice(me.title, me.consent, { go: "I agree and take part" });
    drawFacts();
    at("go").onclick = () => once(agree);
  }
});
