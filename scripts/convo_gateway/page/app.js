// Puts the page together: what is open, the microphone, uploads, dialogs, keys.

import { Refused, configure, json, request, token, upload } from "./api.js";
import { $, ask, clock, el, notice } from "./dom.js";
import { TalkList } from "./list.js";
import { Live } from "./live.js";
import { TalkView, nameOf } from "./talk.js";

const list = new TalkList();
const view = new TalkView({ onChange: () => list.refresh() });
let live = null; // what is recorded now, or still finished
let opened = null;

const say = (error) => { if (error.name !== "AbortError") notice(error instanceof Refused ? error.message : `This page has a fault: ${error.message}`); };
const recording = () => live !== null && !live.stopping;

// --- the link ---

let linked = true;

function onLink(there) {
  if (there === linked) return;
  linked = there;
  $("#link").textContent = there ? "" : recording()
    ? "The connection is lost and tried again. What is said meanwhile is kept for a minute."
    : "The connection is lost and tried again.";
  if (there) notice("Connected again.");
}

// --- the token ---

let asking = null;

/** Ask for a token in place of `used`; returns whether there is another now. Who asks meanwhile gets the same answer. */
function askForToken(used) {
  if (token.get() !== used) return true;
  asking ??= tokenDialog(used ? "The daemon does not know this token." : undefined).finally(() => { asking = null; });
  return asking;
}

async function tokenDialog(wrong) {
  if (refusedToken) return false;
  $("#token-note").firstChild.textContent = wrong ? `${wrong} ` : "This daemon asks for a token. ";
  $("#token").value = "";
  $("#token-forget").hidden = !token.get();
  const before = token.get();
  const agreed = await ask($("#token-dialog"));
  const given = $("#token").value.trim();
  $("#token").value = "";
  if (agreed && given) token.set(given);
  else if (token.get() === before) refusedToken = true; // asked again at the next click, not at the next look at the list
  return token.get() !== before;
}

let refusedToken = false;
addEventListener("click", () => { refusedToken = false; }, true);

configure({ askForToken, onLink });

$("#open-token").addEventListener("click", async () => {
  if (await tokenDialog()) {
    await list.refresh();
    route();
  }
});
$("#token-forget").addEventListener("click", () => {
  token.forget();
  $("#token-dialog").close("");
  location.hash = "#/";
});

// --- which talk is open ---

function route() {
  const [, name, job, segment] = location.hash.split("/");
  const id = name === "talk" && job ? decodeURIComponent(job) : null;
  document.body.dataset.view = id ? "talk" : "list";
  list.select(id);
  if (!id) {
    const before = opened;
    opened = null;
    view.close();
    list.focus(before);
  } else if (id === opened && segment) {
    view.reveal(segment);
  } else if (id !== opened) {
    opened = id;
    window.scrollTo(0, 0);
    view.open(id, { known: list.about(id), live: live?.job === id && !live.over, segment }).catch((error) => {
      if (error.name !== "AbortError" && view.job === id) view.failed(error);
      if (!(error instanceof Refused)) say(error);
    });
    if (!segment) $("#title").focus({ preventScroll: true });
  }
}
addEventListener("hashchange", route);

const open = (job) => { location.hash = `#/talk/${encodeURIComponent(job)}`; };

// --- recording ---

const level = $("#level");

async function record() {
  if (recording()) {
    live.stop();
    return;
  }
  const mine = new Live({
    language: $("#language").value,
    onLink,
    onLevel: (loud) => level.style.setProperty("transform", `scaleX(${loud.toFixed(2)})`),
    on: (type, data) => {
      if (view.job === mine.job) view.event(type, data);
      if (type === "final_summary") nameAfter(mine.job, data.title).catch(say);
    },
  });
  $("#record").disabled = true;
  try {
    await mine.start();
  } catch (error) {
    say(error);
    return;
  } finally {
    $("#record").disabled = false;
  }
  live = mine;
  $("#live").hidden = false;
  $("#record-label").textContent = "Stop";
  document.body.classList.add("recording");
  $("#live-open").href = `#/talk/${encodeURIComponent(mine.job)}`;
  open(mine.job);
  list.refresh();
  const ticking = setInterval(() => {
    $("#clock").textContent = clock(mine.seconds);
    if (mine.stopping) stopped();
  }, 200);
  function stopped() {
    clearInterval(ticking);
    if (live !== mine) return;
    $("#live").hidden = true;
    $("#record-label").textContent = "Record";
    document.body.classList.remove("recording");
  }
  await mine.finished;
  stopped();
  if (live === mine) live = null;
  if (!linked) onLink(true);
  list.refresh();
  if (view.job === mine.job) await view.load(); // what came while nobody was connected, too
}

/** A talk that nobody gave a name gets its summary's. */
async function nameAfter(job, title) {
  const known = await json(`conversation/result/${encodeURIComponent(job)}`);
  if (known.title || !title) return;
  await rename(job, title);
}

$("#record").addEventListener("click", () => record().catch(say));
$("#stop").addEventListener("click", () => {
  live?.stop();
  $("#record").focus();
});
addEventListener("pagehide", () => live?.leave());
addEventListener("beforeunload", (event) => { if (recording() || sending) event.preventDefault(); });

// --- uploads ---

let sending = 0;
let turn = Promise.resolve();

/** Send files one after the other. */
function add(files) {
  const several = files.length > 1;
  for (const file of files) {
    const aborted = new AbortController();
    const bar = el("progress", { max: 1, value: 0, "aria-label": `Sent of ${file.name}` });
    const state = el("span", { class: "note" }, "Waiting");
    const cancel = el("button", { type: "button", class: "quiet", "aria-label": `Cancel ${file.name}` }, "Cancel");
    const row = el("li", {}, el("span", { class: "name", dir: "auto" }, file.name), state, bar, cancel);
    const remove = () => {
      row.remove();
      $("#uploads").hidden = $("#uploads").childElementCount === 0;
    };
    const send = async () => {
      if (aborted.signal.aborted) return;
      sending++;
      bar.hidden = false;
      state.textContent = "Sending";
      try {
        const job = await upload(file, {
          language: $("#language").value, signal: aborted.signal, onProgress: (done) => { bar.value = done; },
        });
        remove();
        list.refresh();
        if (!several && !recording()) open(job);
      } catch (error) {
        if (error.name === "AbortError") return;
        bar.hidden = true;
        state.textContent = error.message;
        cancel.before(el("button", { type: "button", on: { click: (event) => { event.target.remove(); turn = turn.then(send); } } }, "Try again"));
      } finally {
        sending--;
      }
    };
    cancel.addEventListener("click", () => {
      aborted.abort();
      remove();
      $("#upload").focus();
    });
    $("#uploads").append(row);
    $("#uploads").hidden = false;
    turn = turn.then(send);
  }
}

$("#upload").addEventListener("click", () => $("#files").click());
$("#files").addEventListener("change", () => {
  add([...$("#files").files]);
  $("#files").value = "";
});
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => { if (event.relatedTarget === null) document.body.classList.remove("dropping"); });
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!holdsFiles(event)) return;
  event.preventDefault();
  add([...event.dataTransfer.files]);
});

// --- what can be done with a talk ---

const path = (job) => `conversation/${encodeURIComponent(job)}`;

async function save(format) {
  const { talk } = view;
  const response = await request(`conversation/export/${encodeURIComponent(talk.job_id)}`, { query: { format } });
  const url = URL.createObjectURL(await response.blob());
  // A name for a file: no path, no control characters, and not too long.
  const name = nameOf(talk).replace(/[\p{C}/\\:*?"<>|]+/gu, " ").trim().slice(0, 100) || "talk";
  el("a", { href: url, download: `${name}.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  notice(`Saved ${name}.${format}`);
}

async function rename(job, title) {
  await request(path(job), { method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify({ title }) });
  if (view.job === job) view.title(title);
  list.refresh();
}

async function askRename() {
  const { job } = view;
  $("#new-title").value = view.talk.title;
  if (await ask($("#rename-dialog"))) await rename(job, $("#new-title").value.trim());
}

async function askDelete() {
  const { job } = view;
  $("#delete-title").textContent = nameOf(view.talk);
  if (!(await ask($("#delete-dialog")))) return;
  if (live?.job === job) {
    live.over = true;
    live.stop();
  }
  await request(path(job), { method: "DELETE" });
  location.hash = "#/";
  await list.refresh();
  $("#record").focus();
  notice("Deleted.");
}

$("#exports").addEventListener("click", ({ target }) => { if (target.dataset.format) save(target.dataset.format).catch(say); });
$("#rename").addEventListener("click", () => askRename().catch(say));
$("#delete").addEventListener("click", () => askDelete().catch(say));
for (const button of document.querySelectorAll("dialog [data-close]")) {
  button.addEventListener("click", () => {
    const dialog = button.closest("dialog");
    dialog.dispatchEvent(new Event("cancel")); // as Escape does
    dialog.close("");
  });
}

// --- keys ---

const KEYS = "convo.keys"; // "off": no keys of one letter, which speech input types by accident
$("#single-keys").checked = localStorage.getItem(KEYS) !== "off";
$("#single-keys").addEventListener("change", () => localStorage.setItem(KEYS, $("#single-keys").checked ? "on" : "off"));
$("#language").value = localStorage.getItem("convo.language") ?? "";
if ($("#language").selectedIndex < 0) $("#language").value = "";
$("#language").addEventListener("change", () => localStorage.setItem("convo.language", $("#language").value));

const showKeys = () => ask($("#keys-dialog"));
$("#open-keys").addEventListener("click", showKeys);

const withTalk = (action) => () => { if (view.talk) action(); };
const step = (by) => () => {
  const beside = list.beside(by);
  if (beside) open(beside.job_id);
};
const keys = {
  r: () => $("#record").click(),
  u: () => $("#upload").click(),
  "/": () => {
    location.hash = getComputedStyle($(".side")).display === "none" ? "#/" : location.hash;
    setTimeout(() => $("#search").focus());
  },
  j: step(1),
  k: step(-1),
  e: withTalk(() => $("#exports button").focus()),
  t: withTalk(() => $("#rename").click()),
  d: withTalk(() => $("#delete").click()),
  "?": showKeys,
};

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (!list.clear() && view.talk) location.hash = "#/";
    return;
  }
  const typing = event.target.closest("input, select, textarea, [contenteditable]");
  if (typing || localStorage.getItem(KEYS) === "off" || !Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});

// The address after # is for talks, so a jump within the page is made here.
$("#skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("#main").focus();
});

list.refresh();
route();
