// The live box beside the page, so that the page does not freeze: {model: address, text} comes in, then {progress} … and
// {parts, facts, milliseconds} or {error} go out. The model is fetched with the first text and kept.
"use strict";

importScripts("text.js", "core.js");

let model = null;

async function download(address) {
  const reply = await fetch(address);
  if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
  const total = Number(reply.headers.get("Content-Length"));
  const reader = reply.body.getReader();
  const pieces = [];
  let received = 0;
  for (let step = await reader.read(); !step.done; step = await reader.read()) {
    pieces.push(step.value);
    received += step.value.length;
    self.postMessage({ progress: { received, total } });
  }
  return new Blob(pieces).arrayBuffer();
}

self.onmessage = async ({ data }) => {
  try {
    model ??= Livebox.read(await download(data.model));
    const started = performance.now();
    const parts = Livebox.mark(model, data.text);
    self.postMessage({ parts, facts: model.facts, milliseconds: performance.now() - started });
  } catch (error) {
    self.postMessage({ error: { damaged: error instanceof Livebox.DamagedFile, message: error.message } });
  }
};
