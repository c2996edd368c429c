// Call the live box's JavaScript under Node, spread over the cores.
// node livebox.mjs FOLDER_OF_THE_SCRIPTS MODEL   reads [[function, argument…], …] as JSON, prints the results in order.
// A function is one of core.js or text.js; the argument "$model" stands for the model in the file MODEL.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";

if (isMainThread) {
  const calls = JSON.parse(readFileSync(0, "utf8"));
  const count = Math.min(availableParallelism(), Math.ceil(calls.length / 20));
  const parts = Array.from({ length: count }, (_, part) => calls.filter((_, index) => index % count === part));
  const results = await Promise.all(parts.map((part) => new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { part, files: process.argv.slice(2) } });
    worker.on("message", resolve);
    worker.on("error", reject);
  })));
  process.stdout.write(JSON.stringify(calls.map((_, index) => results[index % count][Math.floor(index / count)])));
} else {
  const { part, files: [folder, file] } = workerData;
  const load = createRequire(import.meta.url);
  const functions = { ...load(`${folder}/text.js`), ...load(`${folder}/core.js`) };
  const bytes = readFileSync(file);
  let model;
  const known = (argument) => (argument === "$model" ? (model ??= functions.read(new Uint8Array(bytes).buffer)) : argument);
  parentPort.postMessage(part.map(([name, ...given]) => functions[name](...given.map(known))));
}
