// A live talk: the microphone in, events out, over as many connections as that takes. The last minute of audio is kept, and
// after a broken connection it is sent on from where the daemon has it.

import { Refused, json, over, socketAddress } from "./api.js";
import { sleep } from "./dom.js";

const KEPT = 60 * 32000; // bytes: 16 kHz, two bytes each
const AHEAD = 8 * 32000; // bytes on their way before we wait for the network
const STALLED_MS = 6000; // with so much on its way and nothing moving, the connection is taken for broken
const LONGEST_PAUSE_MS = 3000;

export class Live {
  /** `on` gets each event; `onLink` whether there is a connection; `onLevel` the loudness, 0 to 1. */
  constructor({ language, on, onLink, onLevel }) {
    Object.assign(this, { language, on, onLink, onLevel });
    this.chunks = []; // {at, data}: `at` counts bytes of the talk, as all numbers here
    this.end = 0;
    this.sent = 0;
    this.skipped = 0; // bytes that the daemon will never get: its own numbers are less by these
    this.last = 0;
    this.stopping = false;
    this.over = false;
    this.finished = new Promise((resolve) => { this.finish = resolve; });
  }

  /** Open the microphone, then a job. Throws what is wrong, in a sentence. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Refused("The browser gives the microphone to HTTPS pages and localhost only.");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: true } });
    } catch (error) {
      throw new Refused(error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone." : "There is no microphone that could be opened.");
    }
    try {
      this.context = new AudioContext();
      await this.context.audioWorklet.addModule(new URL("microphone.js", import.meta.url));
      const node = new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0 });
      node.port.onmessage = ({ data }) => this.heard(data);
      this.context.createMediaStreamSource(this.stream).connect(node);
      await this.context.resume();
      // What is said from here on is kept, and sent once there is a job.
      const made = await json("stream/create", { method: "POST", body: JSON.stringify(this.language ? { language: this.language } : {}) });
      this.job = made.job_id;
    } catch (error) {
      this.close();
      throw error;
    }
    this.stream.getAudioTracks()[0].addEventListener("ended", () => this.stop());
    navigator.wakeLock?.request("screen").then((lock) => { this.lock = lock; }, () => {});
    this.connected = this.keepConnected();
  }

  /** No more is said: the last words and the summary follow. */
  stop() {
    if (this.stopping) return;
    this.stopping = true;
    this.close();
    this.pump();
  }

  /** The page goes: tell it, if there is still time. */
  leave() {
    this.stop();
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send('{"type":"end"}');
  }

  get seconds() { return this.end / 32000; }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close().catch(() => {});
    this.lock?.release().catch(() => {});
  }

  heard(data) {
    if (this.stopping) return;
    this.chunks.push({ at: this.end, data });
    this.end += data.byteLength;
    while (this.end - this.chunks[0].at > KEPT) this.chunks.shift();
    const samples = new Int16Array(data);
    let sum = 0;
    for (const sample of samples) sum += sample * sample;
    this.onLevel(Math.min(1, Math.sqrt(sum / samples.length) / 6000));
    this.pump();
  }

  /** Send what the network takes. */
  pump() {
    const socket = this.socket;
    if (!this.ready || socket?.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount >= AHEAD) {
      this.stalled ??= Date.now();
      if (Date.now() - this.stalled > STALLED_MS) this.lost?.();
      return;
    }
    this.stalled = null;
    // What is too old to be kept is lost; the talk goes on behind it.
    const first = this.chunks[0]?.at ?? this.end;
    if (this.sent < first) {
      this.skipped += first - this.sent;
      this.sent = first;
    }
    let next = this.chunks.findIndex(({ at, data }) => at + data.byteLength > this.sent);
    for (; next >= 0 && next < this.chunks.length && socket.bufferedAmount < AHEAD; next++) {
      const { at, data } = this.chunks[next];
      socket.send(data.slice(this.sent - at));
      this.sent = at + data.byteLength;
    }
    if (this.stopping && this.sent === this.end && !this.ended) {
      this.ended = true;
      socket.send('{"type":"end"}');
    } else if (this.stopping && this.sent < this.end) {
      setTimeout(() => this.pump(), 100);
    }
  }

  async keepConnected() {
    let pause = 250;
    while (!this.over) {
      if (await this.connection()) pause = 250;
      if (this.over) break;
      this.onLink(false);
      await sleep(pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
    this.stopping = true;
    this.close();
    this.finish();
  }

  /** One connection, until it is gone; returns whether the gateway answered. */
  connection() {
    this.ready = this.ended = false;
    this.stalled = null;
    let answered = false;
    return new Promise((resolve) => {
      const query = { last_event_id: String(this.last), resume: "1", include: "summary_delta" };
      const socket = this.socket = new WebSocket(socketAddress(`stream/ws/${encodeURIComponent(this.job)}`, query));
      this.lost = () => {
        this.lost = null;
        socket.onmessage = socket.onclose = null;
        socket.close();
        this.ready = false;
        resolve(answered);
      };
      socket.onclose = () => this.lost?.();
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "connection_success") {
          answered = this.ready = true;
          this.sent = Math.min(this.end, message.offset + this.skipped);
          this.onLink(true);
          this.pump();
          return;
        }
        if (message.seq !== undefined) this.last = message.seq;
        if (message.type === "error" && message.seq === undefined) {
          // The job ended while nobody was connected, or is gone: what there is can be fetched.
          if (!["unavailable", "busy", "internal"].includes(message.code)) this.over = true;
          return;
        }
        this.on(message.type, message);
        if (over(message.type, message)) this.over = true;
      };
    });
  }
}
