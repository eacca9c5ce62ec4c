// What the server is asked. Errors carry the server's own words.

async function answer(response) {
  if (response.ok) return response.json();
  let text = `the server answered ${response.status}`;
  try {
    const body = await response.text();
    text = body.startsWith("{") ? JSON.parse(body).error ?? text : body.trim() || text;
  } catch { /* the number has to do */ }
  throw new Error(text);
}

export function address(path, values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== "" && value !== null && value !== undefined) query.append(name, value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export async function get(path, values, signal) {
  return answer(await fetch(address(path, values), { signal }));
}

export async function post(path, body) {
  return answer(await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  }));
}

export const isAbort = (error) => error.name === "AbortError";
