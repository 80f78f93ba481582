// Requests to our own server. What it refuses, it refuses in one line of plain text.

const CSRF = document.querySelector('meta[name="csrf-token"]').content;

async function answer(promise) {
  let response;
  try {
    response = await promise;
  } catch {
    throw new Error("The server does not answer: is it still running?");
  }
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

export function get(path) {
  return answer(fetch(path));
}

export function post(path, body = {}) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": CSRF };
  return answer(fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}
