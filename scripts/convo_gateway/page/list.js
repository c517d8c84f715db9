// The list of talks, kept up to date, and what a search finds, in the same place.

import { json } from "./api.js";
import { $, clock, date, el, length, notice } from "./dom.js";
import { nameOf, stateOf } from "./talk.js";

const SOON_MS = 2000; // while something is at work
const LATER_MS = 20000;
const TYPING_MS = 200;

export class TalkList {
  constructor() {
    this.talks = [];
    this.rows = new Map();
    this.current = null;
    this.query = "";
    $("#older").addEventListener("click", () => this.older().catch((error) => notice(error.message)));
    $("#search").addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.search(), TYPING_MS);
    });
    $("#search-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.search();
    });
    document.addEventListener("visibilitychange", () => this.refresh());
    addEventListener("online", () => this.refresh());
  }

  /** Fetch the newest talks, and again after a while. */
  async refresh() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    const asked = this.asked = {};
    let fine = false;
    try {
      const { jobs } = await json("conversation/list", { query: { limit: 50 } });
      if (this.asked !== asked) return;
      const oldest = jobs.at(-1)?.created ?? 0;
      const known = new Set(jobs.map(({ job_id }) => job_id));
      const rest = jobs.length < 50 ? [] : this.talks.filter((talk) => talk.created <= oldest && !known.has(talk.job_id));
      this.talks = [...jobs, ...rest];
      if (rest.length === 0) $("#older").hidden = jobs.length < 50;
      this.draw();
      fine = true;
    } catch (error) {
      if (error.status === 401) { // not asked for again until the person gives a token
        $("#talks-note").textContent = "Your talks are shown once there is a token.";
        return;
      }
    } // else the link's own line says so; it is tried again
    const busy = !fine || this.talks.some(({ status }) => !["completed", "failed"].includes(status));
    if (this.asked === asked) this.timer = setTimeout(() => this.refresh(), busy ? SOON_MS : LATER_MS);
  }

  async older() {
    const { jobs } = await json("conversation/list", { query: { limit: 50, before: this.talks.at(-1)?.created } });
    $("#older").hidden = jobs.length < 50;
    this.talks.push(...jobs);
    this.draw();
    if (jobs.length) this.rows.get(jobs[0].job_id)?.querySelector("a").focus();
  }

  /** Mark the talk that is open. */
  select(job) {
    this.current = job;
    for (const [id, row] of this.rows) mark(row.querySelector("a"), id === job);
  }

  /** What the list says of a talk. */
  about(job) { return this.talks.find(({ job_id }) => job_id === job); }

  /** The talk after or before the one that is open. */
  beside(step) {
    const at = this.talks.findIndex(({ job_id }) => job_id === this.current);
    return this.talks[at < 0 ? 0 : Math.min(this.talks.length - 1, Math.max(0, at + step))];
  }

  focus(job) { this.rows.get(job)?.querySelector("a").focus(); }

  draw() {
    if (this.query) return;
    $("#talks-note").textContent = this.talks.length ? "" : "None yet.";
    const rows = this.talks.map((talk) => {
      const row = this.rows.get(talk.job_id) ?? el("li", {}, el("a", { href: `#/talk/${encodeURIComponent(talk.job_id)}` },
        el("span", { class: "name", dir: "auto" }), el("span", { class: "about" })));
      this.rows.set(talk.job_id, row);
      const [name, about] = row.firstElementChild.children;
      const state = stateOf(talk);
      const said = [date(talk.created), length(talk.duration_s)].join(" · ");
      if (name.textContent !== nameOf(talk)) name.textContent = nameOf(talk);
      if (about.textContent !== said + state) about.replaceChildren(el("span", {}, said), state && el("span", { class: `state ${talk.status}` }, state));
      mark(row.firstElementChild, talk.job_id === this.current);
      return row;
    });
    const list = $("#talks");
    // Only what changed moves, so that the focus stays where it is.
    rows.forEach((row, index) => { if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null); });
    while (list.children.length > rows.length) list.lastElementChild.remove();
  }

  // --- search ---

  async search() {
    clearTimeout(this.typing);
    const query = this.query = $("#search").value.trim();
    $("#talks-heading").textContent = query ? "Found" : "Talks";
    if (!query) {
      $("#talks").replaceChildren();
      $("#older").hidden = this.talks.length < 50;
      this.draw();
      return;
    }
    let hits;
    try {
      ({ hits } = await json("conversation/search", { query: { q: query, limit: 50 } }));
    } catch (error) {
      if (this.query === query) $("#talks-note").textContent = error.message;
      return;
    }
    if (this.query !== query) return;
    $("#older").hidden = true;
    $("#talks-note").textContent = hits.length === 0 ? "Nothing was found." : hits.length === 1 ? "1 place" : `${hits.length} places`;
    $("#talks").replaceChildren(...hits.map((hit) => el("li", {}, el("a", {
      href: `#/talk/${encodeURIComponent(hit.job_id)}${hit.source === "segment" ? `/${hit.segment}` : ""}`,
    },
    el("span", { class: "snippet", dir: "auto" }, ...marked(hit)),
    el("span", { class: "about" }, el("span", { dir: "auto" }, hit.title || "Untitled"), el("span", {}, hit.source === "segment" ? clock(hit.start) : "summary"))))));
  }

  /** End a search; returns whether there was one. */
  clear() {
    if (!this.query && !$("#search").value) return false;
    $("#search").value = "";
    this.search();
    return true;
  }
}

function mark(link, current) {
  if (current) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}

/** The snippet of a hit with its marks, whose places count characters as Unicode does. */
function marked({ snippet, text, marks }) {
  const characters = Array.from(snippet ?? text);
  const pieces = [];
  let at = 0;
  for (const [from, to] of marks ?? []) {
    pieces.push(characters.slice(at, from).join(""), el("mark", {}, characters.slice(from, to).join("")));
    at = to;
  }
  return [...pieces, characters.slice(at).join("")];
}
