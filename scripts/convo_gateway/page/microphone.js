// An AudioWorklet: the microphone at any rate becomes 16 kHz s16le, 30 ms at a time. It runs beside the page, so that a
// busy page loses nothing. The rate is changed here, as not every browser opens a microphone at another rate than its own.

const RATE = 16000;
const SAMPLES = 480;
const HALF = 16; // zero crossings of the filter on each side
const CUT = 0.92; // of the lower of both Nyquist frequencies
const STEPS = 64; // positions between two samples that the filter is kept for

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.step = sampleRate / RATE;
    const scale = CUT / Math.max(1, this.step);
    this.reach = Math.ceil(HALF / scale);
    // A sinc under a Hann window, for each position.
    this.filters = Array.from({ length: STEPS + 1 }, (_, step) => Float32Array.from({ length: 2 * this.reach }, (_, tap) => {
      const t = tap - this.reach + 1 - step / STEPS;
      if (Math.abs(t) >= this.reach) return 0;
      const x = Math.PI * t * scale;
      return scale * (x === 0 ? 1 : Math.sin(x) / x) * (0.5 + 0.5 * Math.cos((Math.PI * t) / this.reach));
    }));
    this.input = new Float32Array(2 * this.reach + 4096);
    this.filled = this.reach; // silence before the first sample
    this.place = this.reach; // of the next output, in samples of the input
    this.output = new Int16Array(SAMPLES);
    this.written = 0;
  }

  process([channels]) {
    const count = channels.length;
    if (count === 0) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (let channel = 0; channel < count; channel++) sum += channels[channel][i];
      this.input[this.filled++] = sum / count;
    }
    while (Math.floor(this.place) + this.reach < this.filled) {
      const whole = Math.floor(this.place);
      const filter = this.filters[Math.round((this.place - whole) * STEPS)];
      let sample = 0;
      for (let tap = 0, at = whole - this.reach + 1; tap < filter.length; tap++, at++) sample += filter[tap] * this.input[at];
      this.write(sample);
      this.place += this.step;
    }
    const done = Math.floor(this.place) - this.reach;
    if (done > 2048) {
      this.input.copyWithin(0, done, this.filled);
      this.filled -= done;
      this.place -= done;
    }
    return true;
  }

  write(sample) {
    this.output[this.written++] = Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
    if (this.written === SAMPLES) {
      this.port.postMessage(this.output.buffer, [this.output.buffer]);
      this.output = new Int16Array(SAMPLES);
      this.written = 0;
    }
  }
}

registerProcessor("microphone", Microphone);
