// What is written on the page about a candidate and about the progress. Texts are never markup.

const at = (id) => document.getElementById(id);

function number(value) {
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  return value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

function allowed([least, most]) {
  if (least !== null && most !== null) return `${number(least)} to ${number(most)}`;
  if (least !== null) return `from ${number(least)}`;
  return most === null ? "" : `to ${number(most)}`;
}

function measureRow({ name, value, allowed: bounds }) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name.replaceAll("_", " ");
  const found = document.createElement("td");
  found.textContent = number(value);
  const [least, most] = bounds;
  if ((least !== null && value < least) || (most !== null && value > most)) {
    found.className = "outside";
    found.textContent += " outside";
  }
  const range = document.createElement("td");
  range.className = "soft";
  range.textContent = allowed(bounds);
  row.append(head, found, range);
  return row;
}

/** How far the inspection is. */
export function drawProgress({ accepted, rejected, total, per_minute: rate }) {
  const decided = accepted + rejected;
  at("bar").max = total;
  at("bar").value = decided;
  at("count").textContent =
    `${decided} of ${total} decided: ${accepted} accepted, ${rejected} rejected`;
  const minutes = Math.ceil((total - decided) / rate);
  at("rate").textContent = rate
    ? `${rate.toFixed(rate < 10 ? 1 : 0)} per minute${minutes ? `, ${minutes} min left` : ""}`
    : "";
}

/** All that the server says of a candidate, but its picture. */
export function drawCandidate(candidate) {
  document.title = `${candidate.name} – Inspection`;
  at("name").textContent = candidate.name;
  at("verdict").className = candidate.decision;
  at("verdict").textContent = candidate.decision;
  const { pyramid } = candidate;
  at("facts").textContent = [
    pyramid && `${pyramid.width} × ${pyramid.height} pixels`,
    candidate.split,
    candidate.decision === "rejected" && candidate.reason && `rejected: ${candidate.reason}`,
  ]
    .filter(Boolean)
    .join(" · ");
  at("dropped").textContent = candidate.kept
    ? ""
    : `Dropped by ${candidate.step ?? "a step"}: ${candidate.dropped_because ?? "no reason given"}`;
  at("caption").value = candidate.caption ?? "";
  at("corrected").textContent = candidate.corrected ? "· corrected" : "";
  at("measures").tBodies[0].replaceChildren(...candidate.measures.map(measureRow));
  at("measures").hidden = candidate.measures.length === 0;
  drawProgress(candidate.progress);
}
