/* The page: files given to it go to the model in a worker, its features to the explorer. */

import { readImageFile } from "./image_file.js";

const element = (id) => document.getElementById(id);
const settings = JSON.parse(element("page-settings").textContent); // {model: {file, title, bytes}, max_pixels}
const example = JSON.parse(element("image-0").textContent);
const MAX_SHOWN = 12; // images of the explorer; the oldest makes room
const MAX_MODEL_BYTES = 2e9; // a browser holds no larger array
const device = new URLSearchParams(location.search).get("device"); // cpu or gpu; null: what is there

/* ---------------------------------------------------------------- the worker */

let worker = null;
let ready = null; // a promise of what is known of the model in the worker; null: none is loaded
let asked = 0;
const waiting = new Map(); // what is done with the answers, by number of the question

/** Ask the worker; what it is doing is shown meanwhile. */
async function ask(request, transfer = []) {
  task.signal.throwIfAborted();
  if (worker === null) {
    worker = new Worker("worker.js", { type: "module" });
    worker.onmessage = ({ data: { id, stage, result, error } }) => {
      if (stage) return say(`${stage} …`, null);
      const { answered, failed } = waiting.get(id);
      waiting.delete(id);
      if (error === undefined) answered(result);
      else failed(new Error(error));
    };
    worker.onerror = (event) => stopWorker(new Error(`The script that runs the model stopped${event.message ? ` (${event.message})` : ""}. Check the connection and try again; browsers before 2024 cannot run it.`));
  }
  const id = ++asked;
  return new Promise((answered, failed) => {
    waiting.set(id, { answered, failed });
    worker.postMessage({ id, ...request }, transfer);
  });
}

/** End the worker; what waits for it fails with `reason`. */
function stopWorker(reason) {
  worker?.terminate();
  worker = ready = null;
  for (const { failed } of waiting.values()) failed(reason);
  waiting.clear();
}

/* ---------------------------------------------------------------- the model */

let chosen = null; // a file of the user; null: the model of this page

/** The bytes of the model of this page, with progress. */
async function fetched({ file, bytes }) {
  try {
    const response = await fetch(file, { signal: task.signal });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const found = new Uint8Array(bytes), reader = response.body.getReader();
    for (let at = 0; ;) {
      const { done, value } = await reader.read();
      if (done) return { bytes: found.buffer, name: file };
      found.set(value, at);
      at += value.length;
      say(`Fetching the model, ${(at / 1e6).toFixed(0)} of ${(bytes / 1e6).toFixed(0)} MB …`, at / bytes);
    }
  } catch (error) {
    task.signal.throwIfAborted();
    throw new Error(`The model of this page could not be fetched (${error.message}). Check the connection and try again.`);
  }
}

async function load() {
  if (chosen?.size > MAX_MODEL_BYTES) throw new Error(`${chosen.name} has ${(chosen.size / 1e9).toFixed(1)} GB, and a browser loads at most 2. Export a smaller ViT.`);
  const file = chosen ? { bytes: await chosen.arrayBuffer(), name: chosen.name } : await fetched(settings.model);
  const model = await ask({ model: file, device }, [file.bytes]);
  const rows = (size) => Math.floor((size - model.patch) / model.stride) + 1;
  element("model-name").textContent = `${chosen ? `${chosen.name}: ${model.title}` : settings.model.title}, ` +
    `${model.height} × ${model.width} px, ${rows(model.height)} × ${rows(model.width)} patches`;
  element("own-model").hidden = chosen === null;
  return model;
}

/** The model, loaded on first use; after a failure the next call tries again. */
function loaded() {
  ready ??= load().catch((error) => { ready = null; throw error; });
  return ready;
}

/** Take another model; the image that is shown is computed again. A file that cannot be used leaves the model before it. */
async function takeModel(file) {
  const before = chosen;
  stopWorker();
  chosen = file;
  try {
    await loaded();
  } catch (error) {
    chosen = before;
    throw error;
  }
  shown = [];
  await takeImage(latest ?? await exampleFile());
}

/* ---------------------------------------------------------------- images */

let shown = [example]; // images of the explorer, all of one model
let latest = null; // the last file that could be read

const exampleFile = async () => new File([await (await fetch(example.photo)).blob()], example.name, { type: "image/jpeg" });

/** A name that no image of the page has yet: pasted images are all called image.png. */
function freeName(name) {
  const taken = shown.map((image) => image.name);
  for (let number = 1; ; number++) {
    const tried = number === 1 ? name : `${name} (${number})`;
    if (!taken.includes(tried)) return tried;
  }
}

async function takeImage(file) {
  say(`Reading ${file.name} …`, null);
  const { bitmap, photo, notes } = await readImageFile(file, settings.max_pixels);
  latest = file;
  const { width, height } = bitmap;
  const model = await loaded();
  const { image, seconds } = await ask({ bitmap }, [bitmap]);
  if (shown.length === MAX_SHOWN) URL.revokeObjectURL(shown.shift().photo);
  shown.push({ ...image, name: freeName(file.name), photo, width, height });
  dvtExplorer.show(shown, shown.length - 1);
  notes.forEach((note) => complain(note, "note"));
  done(`${file.name}: features in ${seconds.toFixed(2)} s on the ${model.device}. ${model.why}`);
  const hidden = document.querySelector(".maps").getBoundingClientRect().top > innerHeight - 100; // as on a phone
  if (hidden) (element("problems").firstElementChild ?? element("views")).scrollIntoView();
}

/* ---------------------------------------------------------------- one thing at a time */

let work = Promise.resolve();
let task = new AbortController(); // of what is being done
let stops = 0; // how often someone has pressed Stop
let finished = ""; // what was said last when something had been done

/** Do something after what was begun before, unless that is stopped; what goes wrong becomes a message, and the page goes on. */
function then(action) {
  const asked = stops;
  work = work.then(async () => {
    if (stops > asked) return;
    task = new AbortController();
    try {
      await action();
    } catch (error) {
      complain(error.message);
      done(finished);
    }
  });
}

/** Stop what is being done, and what waits for it. */
function stop() {
  stops++;
  task.abort(new Error("Stopped."));
  stopWorker(task.signal.reason);
}

/** Files that were dropped, pasted or chosen: models by their ending, all others as images. */
function take(files) {
  element("problems").replaceChildren();
  for (const file of files) then(() => (/\.onnx$/i.test(file.name) ? takeModel(file) : takeImage(file)));
}

/** Text of the line below the controls, with progress in [0, 1]; null: unknown. */
function say(text, share) {
  element("status").textContent = text;
  const bar = element("progress");
  bar.hidden = element("stop").hidden = false;
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

function done(text) {
  finished = text;
  element("status").textContent = text;
  element("progress").hidden = element("stop").hidden = true;
}

function complain(text, kind = "") {
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  element("problems").append(line);
}

/* ---------------------------------------------------------------- controls */

function connectChooser(button, input) {
  element(button).addEventListener("click", () => element(input).click());
  element(input).addEventListener("change", ({ target }) => {
    take([...target.files]);
    target.value = ""; // the same file can be chosen again
  });
}

function connect() {
  connectChooser("choose-image", "image-file");
  connectChooser("choose-model", "model-file");
  element("own-model").addEventListener("click", () => then(() => takeModel(null)));
  element("stop").addEventListener("click", stop);
  for (const button of document.querySelectorAll(".examples button")) {
    button.addEventListener("click", () => then(async () => {
      element("problems").replaceChildren();
      const address = button.querySelector("img").src;
      await takeImage(new File([await (await fetch(address)).blob()], address.split("/").pop(), { type: "image/jpeg" }));
    }));
  }
  document.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData.files.length) take([...clipboardData.files]);
    else complain("There is no image on the clipboard. Copy an image, not its address.");
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => document.body.classList.toggle("dragging", relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
    else complain("No file was dropped. Save the image first, or copy and paste it.");
  });
}

connect();
globalThis.dvtPage = { shown: () => shown }; // for the console, and for tests
