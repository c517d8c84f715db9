// Small helpers for the document. Text from talks is data: it becomes text nodes here, never markup.

export const $ = (selector) => document.querySelector(selector);

/** An element: attributes by name, `on` as listeners by event, children as elements or text. */
export function el(tag, { on = {}, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  for (const [name, listener] of Object.entries(on)) made.addEventListener(name, listener);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Seconds as 01:15, or 1:01:15. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${two(minutes)}:${two(whole % 60)}`;
}

/** Seconds as a person says them. */
export function length(seconds) {
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const sameYear = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false });
const otherYear = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });

/** Unix seconds as a date. */
export function date(created) {
  const when = new Date(created * 1000);
  return (when.getFullYear() === new Date().getFullYear() ? sameYear : otherYear).format(when);
}

/** A language as BCP 47 has it, if it can be one: it decides fonts and where lines break. */
export const language = (code) => (/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/.test(code ?? "") ? code : undefined);

let fading;

/** Tell something that needs no answer. */
export function notice(text) {
  clearTimeout(fading);
  $("#notice").textContent = text;
  fading = setTimeout(() => { $("#notice").textContent = ""; }, Math.max(5000, text.length * 90));
}

/** Open a dialog; returns whether it was agreed to. The browser gives the focus back to where it was. */
export function ask(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const over = new AbortController();
    const answer = (agreed) => {
      over.abort();
      setTimeout(resolve, 0, agreed); // once it is closed
    };
    const listen = (type, listener) => dialog.addEventListener(type, listener, { signal: over.signal });
    listen("submit", ({ submitter }) => answer(submitter?.value === "ok"));
    listen("cancel", () => answer(false));
    // Told with the next frame only, which a page in the background has none of; by then it may be open again.
    listen("close", () => { if (!dialog.open) answer(dialog.returnValue === "ok"); });
  });
}

export const sleep = (ms, signal) => new Promise((resolve) => {
  const done = () => { clearTimeout(timer); removeEventListener("online", done); resolve(); };
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", done, { once: true });
  addEventListener("online", done, { once: true }); // the way may be open again
});
