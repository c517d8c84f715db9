// The way to the gateway: requests with the token, events that resume where they stopped, uploads with progress.
// The token is in this tab's sessionStorage only. It goes as a header; a WebSocket can have none, so there it is in the query.

import { sleep } from "./dom.js";

const KEY = "convo.token";

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** What the gateway refused, with its own sentence. Without `status` it could not be reached. */
export class Refused extends Error {
  constructor(message, code = "unreachable", status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }

  get temporary() { return this.status === 0 || this.status === 429 || this.status >= 500; }
}

let askForToken = async () => false;
let onLink = () => {};

/** Say who asks the person for a token, and who is told whether the gateway answers. */
export function configure(options) { ({ askForToken, onLink } = options); }

export function address(path, query = {}) {
  const url = new URL(`api/v1/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") url.searchParams.set(name, value);
  url.hash = "";
  return url;
}

/** Where a WebSocket is. */
export function socketAddress(path, query) {
  const url = address(path, { ...query, token: token.get() });
  url.protocol = url.protocol.replace("http", "ws");
  return url;
}

/** A response that is none of an error. A daemon that wants a token gets one from the person. */
export async function request(path, { query, headers = {}, ...options } = {}) {
  for (;;) {
    const used = token.get();
    const sent = used ? { ...headers, authorization: `Bearer ${used}` } : headers;
    let response;
    try {
      response = await fetch(address(path, query), { ...options, headers: sent, cache: "no-store", credentials: "omit" });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      onLink(false);
      throw new Refused("The gateway cannot be reached.");
    }
    if (response.ok) {
      onLink(true);
      return response;
    }
    const refused = await refusal(response.status, () => response.json());
    onLink(refused.code !== "unavailable");
    if (refused.status !== 401 || !(await askForToken(used))) throw refused;
  }
}

async function refusal(status, read) {
  let error = {};
  try { error = (await read()).error ?? {}; } catch { /* it was no JSON: a proxy's own page */ }
  return new Refused(error.message ?? `The gateway answered with status ${status}.`, error.code ?? "internal", status);
}

export const json = async (path, options) => (await request(path, options)).json();

/** The events of a job until its last, over as many connections as that takes; each stored event once. */
export async function follow(job, { signal, on }) {
  let last = 0;
  let pause = 500;
  while (!signal.aborted) {
    try {
      const response = await request(`conversation/stream-events/${encodeURIComponent(job)}`, {
        query: { include: "transcript_partial,summary_delta" }, headers: last ? { "last-event-id": String(last) } : {}, signal,
      });
      if (response.status === 204) return;
      for await (const event of events(response.body)) {
        if (signal.aborted) return;
        pause = 500;
        if (event.id) last = Number(event.id);
        const data = JSON.parse(event.data);
        if (event.event === "error" && data.seq === undefined) break; // the gateway lost the daemon
        on(event.event, data);
        if (over(event.event, data)) return;
      }
      onLink(false);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && !error.temporary) throw error;
      onLink(false);
    }
    await sleep(pause, signal);
    pause = Math.min(pause * 2, 5000);
  }
}

/** Whether an event is the last of its job. */
export const over = (event, data) => event === "progress" ? data.status === "completed" : event === "error" && data.seq !== undefined;

/** Server-sent events of a body. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = {};
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (event.data !== undefined) yield event;
          event = {};
        } else if (!line.startsWith(":")) {
          const colon = line.indexOf(": ");
          event[line.slice(0, colon)] = line.slice(colon + 2);
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Send a recording; the browser reads the file as it goes. Returns its job. */
export async function upload(file, { language, signal, onProgress }) {
  for (;;) {
    const used = token.get();
    try {
      return await send(file, { language, signal, onProgress, used });
    } catch (error) {
      if (error.status !== 401 || !(await askForToken(used))) throw error;
    }
  }
}

function send(file, { language, signal, onProgress, used }) {
  const form = new FormData();
  if (language) form.append("language", language);
  form.append("title", file.name.replace(/\.[^.]{1,5}$/, "").slice(0, 200));
  form.append("file", file);
  // fetch() tells nothing of how far an upload is.
  const sending = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    sending.upload.onprogress = (event) => { if (event.lengthComputable) onProgress(event.loaded / event.total); };
    sending.onload = async () => {
      if (sending.status === 202) resolve(JSON.parse(sending.responseText).job_id);
      else reject(await refusal(sending.status, () => JSON.parse(sending.responseText)));
    };
    sending.onerror = () => reject(new Refused("The connection broke."));
    sending.onabort = () => reject(new DOMException("", "AbortError"));
    signal.addEventListener("abort", () => sending.abort(), { once: true });
    sending.open("POST", address("conversation/request"));
    if (used) sending.setRequestHeader("authorization", `Bearer ${used}`);
    sending.send(form);
  });
}
