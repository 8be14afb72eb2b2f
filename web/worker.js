/*
 * Runs a model beside the page, so that the page can be used meanwhile. Takes {id, model: {bytes, name}, device} or
 * {id, bitmap}; answers {id, stage} while it works, then {id, result} or {id, error}.
 */

import { explorerImage } from "./features.js";
import { describedModel } from "./model_file.js";
import { resized } from "./resample.js";

let ort = null;
let session = null;
let model = null;
let bytes = null; // of the model, for a second try without WebGPU

self.onmessage = async ({ data: { id, ...request } }) => {
  const stage = (text) => self.postMessage({ id, stage: text });
  try {
    const result = request.model ? await load(request.model, request.device, stage) : await run(request.bitmap, stage);
    self.postMessage({ id, result });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};

/** A session for the model, by WebGPU where it works. `device` is "cpu", "gpu" (also an emulated one), or null. */
async function load(file, device, stage) {
  model = describedModel(new Uint8Array(file.bytes), file.name);
  bytes = file.bytes;
  const missing = device === "cpu" ? "it was switched off by the address of this page" : await whyNoGpu(device);
  if (missing === null) {
    try {
      await start("webgpu", stage);
      return described("GPU, by WebGPU");
    } catch (error) {
      await start("wasm", stage, file.name);
      return described("CPU", `WebGPU could not run this model (${error.message}).`);
    }
  }
  await start("wasm", stage, file.name);
  return described("CPU", `No WebGPU: ${missing}.`);
}

const described = (device, why = "") => ({ ...model, device, why });

/** Why WebGPU is not used; null: it is. An emulated graphics card is slower than WebAssembly. */
async function whyNoGpu(device) {
  if (!navigator.gpu) return "this browser does not have it";
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  const usable = adapter && (device === "gpu" || !adapter.info.isFallbackAdapter);
  return usable ? null : "this browser finds no graphics card for it";
}

async function start(provider, stage, name = "the model") {
  stage("Loading ONNX Runtime");
  ort = await import(`./ort.${provider}.bundle.min.mjs`).catch((error) => {
    throw new Error(`ONNX Runtime could not be fetched (${error.message}). Check the connection and try again.`);
  });
  ort.env.wasm.numThreads = 1; // more need headers that few web servers send
  ort.env.logLevel = "error";
  stage("Preparing the model");
  try {
    session = await ort.InferenceSession.create(new Uint8Array(bytes), { executionProviders: [provider] });
  } catch (error) {
    const reason = /external data|\.data/i.test(error.message)
      ? "its weights are in a second file, which a browser cannot load. Export a smaller ViT"
      : `ONNX Runtime says: ${error.message}. Export it again, or try a smaller ViT`;
    throw new Error(`${name} cannot be run here: ${reason}.`);
  }
}

/** An image for the explorer, and the seconds that the model took. */
async function run(bitmap, stage) {
  stage("Resizing");
  const { width, height } = model, pixels = resized(rowsOf(bitmap), [bitmap.width, bitmap.height], [width, height]);
  bitmap.close();
  stage("Computing features");
  const begin = performance.now();
  const found = await session.run({ images: new ort.Tensor("float32", pixels, [1, 3, height, width]) });
  const seconds = (performance.now() - begin) / 1000;
  const outputs = (found.raw ? [["raw", found.raw], ["denoised", found.patches]] : [[model.denoised ? "denoised" : "features", found.patches]])
    .map(([name, { data, dims: [, rows, columns] }]) => ({ name, rows, columns, values: data }));
  if (!outputs.every(({ values }) => values.every(Number.isFinite))) {
    throw new Error("The features are not finite numbers. Look at the weights of the model.");
  }
  stage("Colours");
  return { image: explorerImage(outputs, model), seconds };
}

/** Rows of a bitmap as RGBA bytes, transparency on white. */
function rowsOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return (top, bottom) => {
    canvas.height = bottom - top; // also clears it
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, -top);
    return context.getImageData(0, 0, canvas.width, canvas.height).data;
  };
}
