// Requests to our own server. What it refuses, it refuses in one line of plain text.

const mark = document.querySelector('meta[name="csrf-token"]');

/** The token of a page that gets it only later. */
export function setToken(token) {
  mark.content = token;
}

async function answer(promise) {
  let response;
  try {
    response = await promise;
  } catch {
    throw new Error("The server does not answer: is it still running?");
  }
  if (!response.ok) {
    throw Object.assign(new Error(await response.text()), { status: response.status });
  }
  return response.json();
}

export function get(path) {
  return answer(fetch(path));
}

export function post(path, body = {}) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": mark.content };
  return answer(fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}
