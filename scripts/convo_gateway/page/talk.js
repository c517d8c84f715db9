// One talk on the screen: its summary, its lines, what is being said now. It is told what there is and what happens.

import { follow, json } from "./api.js";
import { $, clock, date, el, language, length, notice } from "./dom.js";

const ORDER = ["pending", "processing", "transcribed", "completed", "failed"];

export const nameOf = (talk) => talk.title || `Talk of ${date(talk.created)}`;

/** How a talk is, in a word or two; nothing where it is as it should be. */
export function stateOf({ status, kind }) {
  if (status === "processing") return kind === "live" ? "Live" : "Transcribing";
  return { pending: "Waiting", transcribed: "Summary follows", failed: "Failed" }[status] ?? "";
}

export class TalkView {
  /** `onChange` is called when the talk's title or state changed. */
  constructor({ onChange }) {
    this.onChange = onChange;
    this.lines = $("#lines");
    this.talk = null;
  }

  get job() { return this.talk?.job_id; }

  close() {
    this.aborted?.abort();
    this.talk = null;
    $("#talk").hidden = true;
    $("#empty").hidden = false;
    document.title = "convo";
  }

  /** Show a talk. `known`: what a list says of it; `live`: its events come from the microphone's connection, by `event`. */
  async open(job, { known, live = false, segment } = {}) {
    this.aborted?.abort();
    const aborted = this.aborted = new AbortController();
    this.talk = { job_id: job, title: "", status: "pending", kind: live ? "live" : "file", created: Date.now() / 1000, duration_s: 0, ...known, starts: new Map() };
    this.written = "";
    this.lines.replaceChildren();
    this.lines.setAttribute("aria-live", "off"); // what is there already is read at leisure
    this.partial({ stable: "", tentative: "" });
    $("#summary").hidden = $("#failure").hidden = $("#progress").hidden = true;
    $("#summary-body").replaceChildren();
    $("#silence").textContent = "";
    $("#empty").hidden = true;
    $("#talk").hidden = false;
    this.head();
    const { signal } = aborted;
    const found = await this.load();
    if (signal.aborted) return;
    if (segment) this.reveal(segment);
    if (live || !["completed", "failed"].includes(found.status)) {
      requestAnimationFrame(() => { if (!signal.aborted) this.lines.setAttribute("aria-live", "polite"); });
      if (!live) await follow(job, { signal, on: (type, data) => this.event(type, data) });
    }
  }

  /** Fetch what there is of the talk, and add what is not known yet. */
  async load() {
    const { signal } = this.aborted;
    const found = await json(`conversation/result/${encodeURIComponent(this.job)}`, { signal });
    if (signal.aborted) return found;
    Object.assign(this.talk, { kind: found.kind, title: found.title, created: found.created, duration_s: Math.max(found.duration_s, this.talk.duration_s) });
    for (const each of found.segments) this.segment(each);
    if (found.summary) this.summary(found.summary);
    if (found.error) this.failed(found.error);
    this.status(found.status);
    return found;
  }

  /** Something happened in the talk. What is known already changes nothing. */
  event(type, data) {
    if (type === "transcript_partial") this.partial(data);
    else if (type === "transcript_segment") this.segment(data);
    else if (type === "summary_delta") this.writing(data);
    else if (type === "final_summary") this.summary(data, true);
    else if (type === "error" && data.seq !== undefined) {
      this.failed(data);
      this.status("failed");
    } else if (type === "progress" && data.status) {
      if (data.total_s) this.progress(data.done_s / data.total_s);
      this.status(data.status);
    }
  }

  title(text) {
    this.talk.title = text;
    this.head();
  }

  head() {
    const { talk } = this;
    const name = nameOf(talk);
    if ($("#title").textContent !== name) $("#title").textContent = name;
    document.title = `${name} · convo`;
    $("#meta").replaceChildren(...[date(talk.created), talk.duration_s ? length(talk.duration_s) : "", stateOf(talk)]
      .filter(Boolean).map((text) => el("span", {}, text)));
    const over = ["completed", "failed"].includes(talk.status);
    $("#silence").textContent = over && talk.starts.size === 0 ? "Nothing was said." : "";
    if (over) $("#progress").hidden = true;
  }

  status(status) {
    if (ORDER.indexOf(status) < ORDER.indexOf(this.talk.status)) return;
    const changed = status !== this.talk.status;
    this.talk.status = status;
    if (["transcribed", "completed", "failed"].includes(status)) this.partial({ stable: "", tentative: "" });
    this.head();
    if (changed) this.onChange();
  }

  progress(done) {
    $("#progress").hidden = false;
    $("#progress").value = done;
  }

  failed({ message }) {
    $("#failure").textContent = message;
    $("#failure").hidden = false;
  }

  // --- what is said ---

  segment({ segment, start, end, text, language: spoken }) {
    const { starts } = this.talk;
    if (starts.has(segment)) return;
    starts.set(segment, start);
    const line = el("p", { class: "line", "data-segment": segment },
      el("time", { datetime: `PT${start.toFixed(1)}S` }, clock(start)),
      el("span", { dir: "auto", lang: language(spoken) }, text));
    const stays = this.atEnd();
    let before = this.lines.lastElementChild;
    while (before && Number(before.dataset.segment) > segment) before = before.previousElementSibling;
    if (before) before.after(line);
    else this.lines.prepend(line);
    this.spoken = spoken;
    this.partial({ stable: "", tentative: "" });
    this.talk.duration_s = Math.max(this.talk.duration_s, end);
    if (stays) this.toEnd();
  }

  partial({ start = 0, stable, tentative }) {
    const line = $("#partial");
    const stays = this.atEnd();
    line.hidden = !stable && !tentative;
    line.querySelector("time").textContent = clock(start);
    line.querySelector(".stable").textContent = stable;
    line.querySelector(".tentative").textContent = tentative;
    const spoken = language(this.spoken);
    if (spoken) line.lastElementChild.lang = spoken;
    else line.lastElementChild.removeAttribute("lang");
    if (stays && !line.hidden) this.toEnd();
  }

  atEnd() {
    return this.talk !== null && this.lines.getAttribute("aria-live") === "polite"
      && window.innerHeight + window.scrollY > document.documentElement.scrollHeight - 160;
  }

  toEnd() { window.scrollTo(0, document.documentElement.scrollHeight); }

  /** Show a line, and say which it is. */
  reveal(segment) {
    const line = this.lines.querySelector(`[data-segment="${Number(segment)}"]`);
    if (!line) return;
    this.lines.querySelector(".found")?.classList.remove("found");
    line.classList.add("found");
    line.tabIndex = -1;
    line.focus({ preventScroll: true });
    line.scrollIntoView({ block: "center" });
  }

  // --- the summary ---

  writing({ text, restart }) {
    this.written = (restart ? "" : this.written) + text;
    $("#summary").hidden = false;
    $("#summary-body").replaceChildren(el("p", { class: "dim", dir: "auto" }, this.written));
  }

  summary(summary, fresh = false) {
    const spoken = language(summary.language);
    const parts = [];
    if (summary.sections?.length) {
      for (const { label, text } of summary.sections) parts.push(el("h3", {}, label), ...paragraphs(text));
    } else parts.push(...paragraphs(summary.summary));
    if (summary.key_points?.length) {
      parts.push(el("h3", { lang: "en" }, "Key points"), el("ul", {}, ...summary.key_points.map((point, index) =>
        el("li", { dir: "auto" }, point, ...this.sources(summary.key_point_sources?.[index])))));
    }
    if (summary.action_items?.length) {
      parts.push(el("h3", { lang: "en" }, "Action items"), el("ul", {}, ...summary.action_items.map((item) => {
        const about = [item.owner, item.due].filter(Boolean).join(", ");
        return el("li", { dir: "auto" }, item.text, about ? ` (${about})` : "", ...this.sources(item.sources));
      })));
    }
    if (summary.unverified?.length) parts.push(el("p", { class: "dim" }, `Not in the transcript: ${summary.unverified.join(", ")}`));
    if (summary.keywords?.length) parts.push(el("p", { class: "keywords" }, ...summary.keywords.map((word) => el("span", {}, word))));
    $("#summary-body").replaceChildren(...parts);
    if (spoken) $("#summary-body").lang = spoken;
    else $("#summary-body").removeAttribute("lang");
    $("#summary").hidden = false;
    this.talk.summary = summary;
    this.head();
    if (fresh) {
      notice("The summary is ready.");
      this.onChange();
    }
  }

  /** Links to what a sentence rests on. */
  sources(segments) {
    return (segments ?? []).filter((each) => this.talk.starts.has(each)).slice(0, 3).map((each) => el("a", {
      class: "source", lang: "en", href: `#/talk/${encodeURIComponent(this.job)}/${each}`,
      "aria-label": `said at ${clock(this.talk.starts.get(each))}`,
    }, clock(this.talk.starts.get(each))));
  }
}

const paragraphs = (text) => text.split("\n").filter((line) => line.trim()).map((line) => el("p", { dir: "auto" }, line));
