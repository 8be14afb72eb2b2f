"use strict";
/*
 * The live page: takes an image, sends it to the server, follows its job, gives the results to the explorer.
 * dvt/view/app.py has the routes.
 */
const dvtView = (() => {
  const element = (id) => document.getElementById(id);
  const given = JSON.parse(element("given").textContent);
  const POLL_MS = 100, SLOW_POLL_MS = 400, RETRY_MS = 2000;
  const MAX_RESULTS = 6; // images that can be compared with each other
  const ENDED = ["done", "failed", "cancelled"];
  const firstHash = location.hash, firstJob = new URLSearchParams(location.search).get("job");

  let current = null; // status of the job that the page follows
  let results = []; // of the last jobs: { id, status, data }
  let number = null; // of the image of the server that was chosen last
  let unreachable = false; // the server did not answer, and the page says so
  let changing = 0; // timer: several options may change at once
  let submitting = Promise.resolve(); // one image is sent after the other

  /* ---------------------------------------------------------------- server */

  /** An answer of the server; errors have its sentence. */
  async function ask(method, path, body) {
    let answer;
    try {
      answer = await fetch(path, { method, body, headers: body ? { "content-type": "application/octet-stream" } : {} });
    } catch {
      throw Object.assign(new Error("The server does not answer. If it was ended, start dvt view again."), { unreachable: true });
    }
    if (answer.ok) return answer.json();
    let text = `The server answers with an error (${answer.status}).`;
    try { text = (await answer.json()).error; } catch { /* not from a route */ }
    throw new Error(text);
  }

  const wait = (ms) => new Promise((done) => setTimeout(done, ms));

  /** The options that are chosen, as the end of an address. */
  function query(more = {}) {
    const methods = [...element("methods").querySelectorAll("input:checked")].map((each) => each.value).join(",");
    const chosen = { backbone: element("backbone").value, layer: element("layer").value, size: element("size").value, methods };
    return new URLSearchParams({ ...chosen, ...more }).toString();
  }

  /** Begin a job in place of the one that this page follows by then, which goes on if the image is refused. */
  function submit(...request) {
    submitting = submitting.then(() => send(...request));
    return submitting;
  }

  async function send(path, body, more) {
    clearTimeout(changing);
    complain("");
    try {
      const status = await ask("POST", `${path}?${query({ instead: current ? current.id : "", ...more })}`, body);
      history.replaceState(null, "", `?job=${status.id}${location.hash}`);
      follow(status);
      return true;
    } catch (error) {
      complain(error.message);
      return false;
    }
  }

  async function submitFile(file) {
    if (file.size > given.max_upload_bytes) {
      return complain(`${file.name} has ${Math.ceil(file.size / 1e6)} MB; the page takes files of up to ${given.max_upload_bytes / 1e6} MB. Make it smaller.`);
    }
    if (file.size === 0) return complain(`${file.name} is empty, or is a folder. Give an image file.`);
    if (await submit("/api/jobs", file, { name: file.name })) {
      number = null;
      press(null);
    }
  }

  async function submitNumber(wanted) {
    number = wanted; // N and P may be quicker than the server
    if (await submit(`/api/images/${wanted}`)) press(wanted);
  }

  /** Compute the image of the last job again, with the options as they are now. */
  function submitAgain() {
    if (current) submit(`/api/jobs/${current.id}/again`);
  }

  /** Follow a job to its end, unless another one takes its place. */
  async function follow(status) {
    current = status;
    let seen = 0;
    for (;;) {
      if (status.version > seen) {
        seen = status.version;
        try {
          const data = await ask("GET", `/api/jobs/${status.id}/result`);
          if (current.id === status.id) showResult(status, data);
        } catch (error) {
          complain(error.message);
        }
        if (current.id !== status.id) return;
      }
      describe(status); // after the result: what is said to be done is on the screen
      if (ENDED.includes(status.state)) return;
      await wait(status.state === "waiting" || seen ? SLOW_POLL_MS : POLL_MS);
      if (current.id !== status.id) return;
      try {
        status = await ask("GET", `/api/jobs/${status.id}`);
        if (unreachable) complain("");
        unreachable = false;
      } catch (error) {
        unreachable = Boolean(error.unreachable);
        complain(error.message);
        if (!error.unreachable) return announce("");
        await wait(RETRY_MS);
      }
      if (current.id !== status.id) return;
      current = status;
    }
  }

  /* ---------------------------------------------------------------- results */

  const sameKind = (a, b) => a.status.backbone === b.status.backbone && a.status.layer === b.status.layer &&
    a.data.maps.map((map) => map.name).join() === b.data.maps.map((map) => map.name).join();

  /** Give the result to the explorer, with earlier ones that can be matched with it. */
  function showResult(status, data) {
    const result = { id: status.id, status, data };
    const isNew = !results.some((each) => each.id === status.id);
    results = [...results.filter((each) => each.id !== status.id && each.data.name !== data.name), result].slice(-MAX_RESULTS);
    const shown = results.filter((each) => sameKind(each, result));
    dvtExplorer.show(shown.map((each) => each.data), shown.indexOf(result), status.id === firstJob ? firstHash : "");
    const map = data.maps[0];
    element("about").textContent = `${data.name}: ${status.backbone}, layer ${layerText(status.layer)}, ${map.rows} × ${map.columns} patches`;
    document.title = `${data.name} · dvt view`;
    const hidden = document.querySelector(".maps").getBoundingClientRect().top > innerHeight - 150; // as on a phone
    if (isNew && hidden) element("views").scrollIntoView();
  }

  /** The job in words, with its progress. */
  function describe(status) {
    const { state, ahead, task, unit, completed, total } = status;
    const focused = [element("cancel"), element("again")].includes(document.activeElement);
    element("cancel").hidden = ENDED.includes(state);
    element("again").hidden = !["failed", "cancelled"].includes(state);
    if (focused) element(element("again").hidden ? "cancel" : "again").focus(); // one button takes the place of the other
    element("job-count").textContent = state === "running" && total > 0 && unit ? `, ${completed} of ${total}` : "";
    const texts = {
      waiting: ahead ? `${status.name} waits: ${ahead === 1 ? "1 image is" : `${ahead} images are`} before it` : `${status.name} waits`,
      running: task || "reading the image",
      done: `${status.name}: done`,
      failed: status.version ? `${status.name}: not all methods could be computed` : `${status.name} could not be shown`,
      cancelled: `${status.name}: cancelled`,
    };
    announce(texts[state], !ENDED.includes(state), state === "running" && total ? completed / total : null);
    if (state === "failed") complain(status.error);
  }

  /** A line about the job, with a bar where it is busy: of a share, or of an unknown one. */
  function announce(text, busy = false, share = null) {
    element("job").hidden = !text;
    if (element("job-text").textContent !== text) element("job-text").textContent = text;
    const bar = element("job-progress");
    bar.hidden = !busy;
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    if (!busy) element("cancel").hidden = true;
  }

  function complain(text) {
    const fault = element("fault");
    if (fault.textContent !== text) fault.textContent = text;
    fault.hidden = !text;
  }

  /* ---------------------------------------------------------------- options */

  const layerText = (value) => value.replaceAll(",", ", ");
  const lastBlock = (layers) => String(Math.max(...layers.flatMap((value) => value.split(",").map(Number))));
  const offer = () => given.backbones.find((each) => each.name === element("backbone").value);

  function fill(id, entries) {
    element(id).replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  }

  /** The choices of the ViT; the layer, size and methods of before stay where it has them. */
  function fillOptions(layer, size, ticked) {
    const { layers, sizes } = offer();
    fill("layer", layers.map((value) => [value, value === lastBlock(layers) ? `${value} (last)` : layerText(value)]));
    if (layers.includes(layer)) element("layer").value = layer;
    fill("size", sizes.map((each) => [each.value, each.text]));
    if (sizes.some((each) => each.value === size)) element("size").value = size;
    fillMethods(ticked);
  }

  function fillMethods(ticked) {
    const { methods, trained, layers } = offer();
    element("methods").replaceChildren(...methods.map((name) => {
      const label = document.createElement("label"), input = document.createElement("input");
      label.className = "field";
      Object.assign(input, { type: "checkbox", value: name, checked: ticked.includes(name) });
      if (name === "raw") Object.assign(input, { checked: true, disabled: true });
      if (trained.includes(name) && element("layer").value !== layers[0]) {
        Object.assign(input, { checked: false, disabled: true });
        label.title = `Trained for layer ${layerText(layers[0])}.`;
      }
      input.addEventListener("change", changed);
      label.append(input, name);
      return label;
    }));
  }

  /** The methods that are ticked, and those that only this layer lacks. */
  function ticked() {
    const inputs = [...element("methods").querySelectorAll("input")];
    return inputs.filter((each) => each.checked || (each.disabled && offer().ticked.includes(each.value))).map((each) => each.value);
  }

  /** Options have changed: compute again, when they have been still for a moment. */
  function changed() {
    clearTimeout(changing);
    changing = setTimeout(submitAgain, 400);
  }

  function connectOptions() {
    fill("backbone", given.backbones.map(({ name }) => [name, name]));
    fillOptions("", "", offer().ticked);
    element("choices").open = !matchMedia("(max-width: 760px)").matches; // closed, the summary stands for them
    element("backbone").addEventListener("change", () => { fillOptions("", "", offer().ticked); changed(); });
    element("layer").addEventListener("change", () => { fillMethods(ticked()); changed(); });
    element("size").addEventListener("change", changed);
  }

  /** Bring the options to those of a job. */
  function restoreOptions(status) {
    if (!given.backbones.some(({ name }) => name === status.backbone)) return;
    element("backbone").value = status.backbone;
    fillOptions(status.layer, status.size, status.methods);
  }

  /* ---------------------------------------------------------------- where images come from */

  /** The image of a drop or of the clipboard; null: there is none. */
  function imageOf(transfer) {
    const files = [...transfer.files];
    return files.find((file) => file.type.startsWith("image/")) || files[0] || null;
  }

  function connectDrop() {
    let depth = 0; // elements under the pointer, entered and not left
    const mark = (change) => { depth = Math.max(0, depth + change); document.body.classList.toggle("dragged", depth > 0); };
    document.addEventListener("dragenter", (event) => { event.preventDefault(); mark(1); });
    document.addEventListener("dragleave", () => mark(-1));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      mark(0);
      const file = imageOf(event.dataTransfer);
      if (file) submitFile(file);
      else complain("That was a link or a text, not a file. Save the image first, or copy it and paste it here.");
    });
    document.addEventListener("paste", (event) => {
      const file = imageOf(event.clipboardData);
      if (file) submitFile(file);
      else complain("There is no image on the clipboard.");
    });
    element("choose").addEventListener("click", () => element("file").click());
    element("file").addEventListener("change", () => {
      const [file] = element("file").files;
      if (file) submitFile(file);
      element("file").value = ""; // the same file may be chosen again
    });
  }

  function connectCamera() {
    const dialog = element("camera-dialog"), video = element("camera-picture");
    if (!navigator.mediaDevices?.getUserMedia) { // not on pages from other machines without TLS
      element("camera").hidden = true;
      return;
    }
    element("camera").addEventListener("click", async () => {
      try {
        video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
      } catch (error) {
        return complain(error.name === "NotAllowedError" ? "The browser was not allowed to use the camera." : "There is no camera that can be used.");
      }
      dialog.showModal();
    });
    dialog.addEventListener("close", () => {
      for (const track of video.srcObject?.getTracks() || []) track.stop();
      video.srcObject = null;
    });
    element("camera-close").addEventListener("click", () => dialog.close());
    element("camera-take").addEventListener("click", () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
      if (!canvas.width) return;
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => submitFile(new File([blob], "camera.jpg", { type: blob.type })), "image/jpeg", 0.95);
      dialog.close();
    });
  }

  /** Mark the image of the server that is shown; null: none of them. */
  function press(wanted) {
    [...element("thumbnails").children].forEach((button, at) => button.setAttribute("aria-pressed", String(at === wanted)));
  }

  function connectImages() {
    const holder = element("thumbnails");
    holder.hidden = !given.images.length;
    holder.append(...given.images.map((name, at) => {
      const button = document.createElement("button"), image = document.createElement("img");
      Object.assign(image, { loading: "lazy", alt: name, src: `/api/images/${at}` });
      Object.assign(button, { type: "button", title: name });
      button.setAttribute("aria-pressed", "false");
      button.append(image);
      button.addEventListener("click", () => submitNumber(at));
      return button;
    }));
    document.addEventListener("keydown", (event) => {
      const step = { n: 1, p: -1 }[event.key];
      if (!step || !given.images.length || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, dialog")) return;
      const next = number === null ? (step > 0 ? 0 : given.images.length - 1) : number + step;
      if (next < 0 || next >= given.images.length) return;
      submitNumber(next);
      holder.children[next].scrollIntoView({ block: "nearest", inline: "nearest" });
    });
  }

  /** Find the job of the address again. */
  async function restore() {
    if (!firstJob) return;
    try {
      const status = await ask("GET", `/api/jobs/${encodeURIComponent(firstJob)}`);
      restoreOptions(status);
      follow(status);
    } catch (error) {
      complain(error.message);
    }
  }

  connectOptions();
  connectDrop();
  connectCamera();
  connectImages();
  element("cancel").addEventListener("click", () => ask("DELETE", `/api/jobs/${current.id}`).catch((error) => complain(error.message)));
  element("again").addEventListener("click", submitAgain);
  restore();

  return { status: () => current, submitFile };
})();
