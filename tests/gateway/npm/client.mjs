// OpenAI's API as its own npm SDK sees it: node client.mjs BASE_URL RECORDING PCM, where PCM is 24 kHz mono s16le.
// Prints one JSON object, a property for each thing tried; what is right is the test's to say.
import { createReadStream, readFileSync } from "node:fs";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const [baseURL, recording, samples] = process.argv.slice(2);
const client = new OpenAI({ apiKey: "any", baseURL, maxRetries: 0, timeout: 60_000 });

const transcribe = (options) =>
  client.audio.transcriptions.create({ file: createReadStream(recording), model: "whisper-1", ...options });

const failure = (promise) =>
  promise.then(
    () => null,
    (error) => ({ name: error.constructor.name, status: error.status, code: error.code, message: error.message }),
  );

async function stream() {
  const events = [];
  for await (const event of await transcribe({ stream: true })) events.push(event);
  return events;
}

async function models() {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  return names;
}

function realtime() {
  const audio = readFileSync(samples);
  const events = [];
  return new Promise((resolve, reject) => {
    const socket = new OpenAIRealtimeWS({ model: "whisper-1" }, client);
    socket.on("error", reject);
    socket.on("event", (event) => events.push(event));
    socket.on("session.created", () =>
      socket.send({
        type: "session.update",
        session: { type: "transcription", audio: { input: { transcription: { model: "whisper-1", language: "en" } } } },
      }),
    );
    socket.on("session.updated", () => {
      for (let start = 0; start < audio.length; start += 4800) {
        socket.send({ type: "input_audio_buffer.append", audio: audio.toString("base64", start, start + 4800) });
      }
    });
    socket.on("conversation.item.input_audio_transcription.completed", () => {
      socket.close();
      resolve(events);
    });
  });
}

console.log(
  JSON.stringify({
    json: await transcribe({}),
    verbose: await transcribe({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] }),
    srt: await transcribe({ response_format: "srt" }),
    stream: await stream(),
    models: await models(),
    model: await client.models.retrieve("whisper-1"),
    realtime: await realtime(),
    translation: await failure(
      client.audio.translations.create({ file: createReadStream(recording), model: "whisper-1" }),
    ),
    unknown: await failure(transcribe({ model: "no-such-model" })),
  }),
);
