// An AudioWorklet: samples from the microphone as s16le, 40 ms at a time. It runs beside the page, so a busy page loses none.
const SAMPLES = 640;

class Microphone extends AudioWorkletProcessor {
  samples = new Int16Array(SAMPLES);
  filled = 0;

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.samples[this.filled++] = Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
      if (this.filled === SAMPLES) {
        this.port.postMessage(this.samples.buffer, [this.samples.buffer]);
        this.samples = new Int16Array(SAMPLES);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
