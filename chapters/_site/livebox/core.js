// The model of the live box: reads the file and computes the logits; text.js does what concerns text and labels.
// worker.js uses it in the page, tests/unit/livebox.mjs under Node. The same computation in Python: utils/encoder.py,
// utils/batching.py, utils/decoding.py.
// Shapes in comments: t pieces, w width, c labels; matrices are stored row by row, a row for each output.
"use strict";

if (typeof require !== "undefined") globalThis.LiveboxText = require("./text.js"); // in a worker importScripts has done it

const Livebox = (() => {
  const BLOCK = 4; // rows and columns computed side by side: 16 sums fit the registers of a processor

  const upTo = (n) => Math.ceil(n / BLOCK) * BLOCK;

  class DamagedFile extends Error {}

  // --- the file: safetensors, int8 matrices with a scale for each row ----------------------------------------------------

  // ArrayBuffer -> model. Throws DamagedFile.
  function read(buffer) {
    try {
      const size = Number(new DataView(buffer).getBigUint64(0, true));
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
      const settings = JSON.parse(header.__metadata__.livebox);
      delete header.__metadata__;
      const end = 8 + size + Math.max(...Object.values(header).map((entry) => entry.data_offsets[1]));
      if (end !== buffer.byteLength) throw new Error(`${buffer.byteLength} bytes instead of ${end}`);
      const bytes = (name) => buffer.slice(...header[name].data_offsets.map((offset) => 8 + size + offset));
      const vector = (name) => new Float32Array(bytes(name));
      const matrix = (name) => {
        const [rows, columns] = header[name].shape;
        const integers = new Int8Array(bytes(name));
        const scale = vector(`${name}.scale`);
        const values = new Float32Array(upTo(rows) * columns); // the added rows are zero
        for (let i = 0; i < integers.length; i++) values[i] = integers[i] * scale[Math.floor(i / columns)];
        return { rows, columns, values };
      };
      return build(settings, matrix, vector);
    } catch (error) {
      throw new DamagedFile(error.message);
    }
  }

  function build(settings, matrix, vector) {
    const linear = (name) => ({ weight: matrix(`${name}.weight`), bias: vector(`${name}.bias`) });
    const norm = (name) => ({ gain: vector(`${name}.weight`), bias: vector(`${name}.bias`) });
    const blocks = Array.from({ length: settings.config.num_hidden_layers }, (_, i) => {
      const at = `bert.encoder.layer.${i}`;
      return {
        query: linear(`${at}.attention.self.query`),
        key: linear(`${at}.attention.self.key`),
        value: linear(`${at}.attention.self.value`),
        projection: linear(`${at}.attention.output.dense`),
        attentionNorm: norm(`${at}.attention.output.LayerNorm`),
        expand: linear(`${at}.intermediate.dense`),
        contract: linear(`${at}.output.dense`),
        contractNorm: norm(`${at}.output.LayerNorm`),
      };
    });
    const { hidden_act: activation, hidden_size: width, intermediate_size: inner } = settings.config;
    if (activation !== "gelu_new" || width % BLOCK || inner % BLOCK) throw new Error(`${activation}, ${width}, ${inner}`);
    const at = "bert.embeddings";
    return {
      ...settings, // config, labels, special, window, facts
      characters: new Map(Object.entries(settings.characters)),
      word: matrix(`${at}.word_embeddings.weight`),
      position: matrix(`${at}.position_embeddings.weight`),
      tokenType: matrix(`${at}.token_type_embeddings.weight`),
      embeddingsNorm: norm(`${at}.LayerNorm`),
      blocks,
      classifier: linear("classifier"),
    };
  }

  // --- the network -------------------------------------------------------------------------------------------------------

  // (n, k) -> (n, m): out[i][j] = sum over k of x[i][k] weight[j][k], plus bias[j]. n and m are multiples of BLOCK in memory.
  function dense({ weight, bias }, x, n) {
    const k = weight.columns, m = upTo(weight.rows), w = weight.values;
    const out = new Float32Array(n * m);
    for (let j = 0; j < m; j += 4) {
      const w0 = j * k, w1 = w0 + k, w2 = w1 + k, w3 = w2 + k;
      const b0 = bias[j] || 0, b1 = bias[j + 1] || 0, b2 = bias[j + 2] || 0, b3 = bias[j + 3] || 0;
      for (let i = 0; i < n; i += 4) {
        const x0 = i * k, x1 = x0 + k, x2 = x1 + k, x3 = x2 + k;
        let s00 = b0, s01 = b1, s02 = b2, s03 = b3, s10 = b0, s11 = b1, s12 = b2, s13 = b3;
        let s20 = b0, s21 = b1, s22 = b2, s23 = b3, s30 = b0, s31 = b1, s32 = b2, s33 = b3;
        for (let l = 0; l < k; l++) {
          const v0 = w[w0 + l], v1 = w[w1 + l], v2 = w[w2 + l], v3 = w[w3 + l];
          const a0 = x[x0 + l], a1 = x[x1 + l], a2 = x[x2 + l], a3 = x[x3 + l];
          s00 += a0 * v0; s01 += a0 * v1; s02 += a0 * v2; s03 += a0 * v3;
          s10 += a1 * v0; s11 += a1 * v1; s12 += a1 * v2; s13 += a1 * v3;
          s20 += a2 * v0; s21 += a2 * v1; s22 += a2 * v2; s23 += a2 * v3;
          s30 += a3 * v0; s31 += a3 * v1; s32 += a3 * v2; s33 += a3 * v3;
        }
        let o = i * m + j;
        out[o] = s00; out[o + 1] = s01; out[o + 2] = s02; out[o + 3] = s03; o += m;
        out[o] = s10; out[o + 1] = s11; out[o + 2] = s12; out[o + 3] = s13; o += m;
        out[o] = s20; out[o + 1] = s21; out[o + 2] = s22; out[o + 3] = s23; o += m;
        out[o] = s30; out[o + 1] = s31; out[o + 2] = s32; out[o + 3] = s33;
      }
    }
    return out;
  }

  // In place: each row of (n, w) to mean 0 and variance 1, then gain and bias.
  function layerNorm({ gain, bias }, x, n, epsilon) {
    const width = gain.length;
    for (let start = 0; start < n * width; start += width) {
      let mean = 0, variance = 0;
      for (let k = 0; k < width; k++) mean += x[start + k] / width;
      for (let k = 0; k < width; k++) variance += (x[start + k] - mean) * (x[start + k] - mean) / width;
      const factor = 1 / Math.sqrt(variance + epsilon);
      for (let k = 0; k < width; k++) x[start + k] = (x[start + k] - mean) * factor * gain[k] + bias[k];
    }
    return x;
  }

  // In place: 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)) with u = sqrt(2 / pi) (x + 0.044715 x³).
  function gelu(x) {
    const scale = -2 * Math.sqrt(2 / Math.PI);
    for (let i = 0; i < x.length; i++) x[i] /= 1 + Math.exp(scale * x[i] * (1 + 0.044715 * x[i] * x[i]));
    return x;
  }

  function add(x, y) {
    for (let i = 0; i < x.length; i++) x[i] += y[i];
    return x;
  }

  // (t, w) -> (t, w), n rows in memory: every piece reads the values of the pieces that its query fits.
  function attention(block, x, t, n, heads) {
    const width = block.query.weight.rows, size = width / heads;
    const query = dense(block.query, x, n), key = dense(block.key, x, n), value = dense(block.value, x, n);
    const mixed = new Float32Array(n * width);
    const weights = new Float64Array(t);
    for (let head = 0; head < width; head += size) {
      for (let i = 0; i < t; i++) {
        const q = i * width + head;
        let greatest = -Infinity, total = 0;
        for (let j = 0; j < t; j++) {
          let score = 0;
          for (let k = 0, at = j * width + head; k < size; k++) score += query[q + k] * key[at + k];
          weights[j] = score / Math.sqrt(size);
          greatest = Math.max(greatest, weights[j]);
        }
        for (let j = 0; j < t; j++) total += weights[j] = Math.exp(weights[j] - greatest);
        for (let j = 0; j < t; j++) {
          const share = weights[j] / total;
          for (let k = 0, at = j * width + head; k < size; k++) mixed[q + k] += share * value[at + k];
        }
      }
    }
    return dense(block.projection, mixed, n);
  }

  // Pieces (t,) -> logits, an array of t arrays (c,).
  function logits(model, ids) {
    const { hidden_size: width, layer_norm_eps: epsilon, num_attention_heads: heads } = model.config;
    const t = ids.length, n = upTo(t); // rows t to n are there for the blocks of `dense`; nothing reads them
    let x = new Float32Array(n * width);
    ids.forEach((id, i) => {
      for (let k = 0; k < width; k++) {
        x[i * width + k] = model.word.values[id * width + k] + model.position.values[i * width + k] + model.tokenType.values[k];
      }
    });
    layerNorm(model.embeddingsNorm, x, n, epsilon);
    for (const block of model.blocks) {
      x = layerNorm(block.attentionNorm, add(attention(block, x, t, n, heads), x), n, epsilon);
      const inner = gelu(dense(block.expand, x, n));
      x = layerNorm(block.contractNorm, add(dense(block.contract, inner, n), x), n, epsilon);
    }
    const flat = dense(model.classifier, x, n), stride = upTo(model.labels.length);
    return ids.map((_, i) => Array.from(flat.subarray(i * stride, i * stride + model.labels.length)));
  }

  // --- all together ------------------------------------------------------------------------------------------------------

  // Logits of every character, an array of n arrays (c,).
  function scores(model, ids) {
    if (!ids.length) return [];
    const { cls, sep } = model.special;
    const cuts = LiveboxText.windows(model.window, ids.length);
    const rows = cuts.map(({ start, end }) => logits(model, [cls, ...ids.slice(start, end), sep]).slice(1, -1));
    return LiveboxText.owners(cuts, ids.length).map((index, c) => rows[index][c - cuts[index].start]);
  }

  // Text -> {characters, ids, logits, labels}, one entry a character.
  function analyse(model, text) {
    const characters = LiveboxText.split(text), ids = LiveboxText.encode(model, characters), rows = scores(model, ids);
    return { characters, ids, logits: rows, labels: LiveboxText.decode(model.labels, rows) };
  }

  // Text -> its parts [{text, kind}], see LiveboxText.parts.
  function mark(model, text) {
    const { characters, labels } = analyse(model, text);
    return LiveboxText.parts(text, characters, LiveboxText.entities(labels));
  }

  return { DamagedFile, read, logits, analyse, mark };
})();

if (typeof module !== "undefined") module.exports = Livebox;
